// Texts of any length: jobs that go on when the page is closed.

import { $, button, el, keepDraft, saveFile, tell } from "../dom.js";
import { ask, getJson, Refused } from "../api.js";
import { failed } from "../dock.js";
import { clock, language, moment, number, t } from "../i18n.js";
import { sure } from "../question.js";
import { settings } from "../settings.js";

const EVERY = 1000; // milliseconds between two looks while something goes on
const WAYS = {
  queued: ["pause", "cancel"],
  running: ["pause", "cancel"],
  paused: ["resume", "cancel"],
  failed: ["retry"],
  cancelled: ["retry"],
  done: [],
};
const ICONS = { pause: "pause", resume: "play", cancel: "stop", retry: "again" };
const text = $("#long-text");
const box = $("#jobs");
let timer = null;
let shown = "";

export function begin() {
  keepDraft(text, "long");
  text.addEventListener("input", count);
  window.addEventListener("language", () => {
    count();
    if (!$("#view-long").hidden) look();
  });
  const file = $("#long-file");
  $("#long-choose").addEventListener("click", () => file.click());
  file.addEventListener("change", async () => {
    if (file.files[0]) text.value = await file.files[0].text();
    count();
  });
  $("#long-form").addEventListener("submit", (event) => {
    event.preventDefault();
    start().catch(failed);
  });
  count();
}

export function enter() {
  count();
  shown = "";
  look();
}

export function leave() {
  clearTimeout(timer);
  timer = null;
}

function count() {
  $("#long-count").textContent = t("long.count", { n: number(text.value.length) });
}

async function start() {
  const input = text.value.trim();
  if (!input) {
    text.focus();
    throw new Error(t("speak.empty"));
  }
  const json = { ...settings.body({ voice: true }), input, response_format: settings.format() };
  try {
    await ask("/v1/jobs", { json });
  } catch (error) {
    throw error.missing ? new Error(t("long.missing")) : error;
  }
  tell(t("long.begun"));
  await look();
}

async function look() {
  clearTimeout(timer);
  try {
    const { data } = await getJson("/v1/jobs");
    show(data);
    const busy = data.some(({ status }) => status === "queued" || status === "running");
    if (!$("#view-long").hidden) timer = setTimeout(look, busy ? EVERY : 5 * EVERY);
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    const words = error.missing ? t("long.missing") : error.message;
    box.replaceChildren(el("p", { class: "empty", text: words }));
  }
}

/** The rows anew when what can be done has changed; else only their numbers. */
function show(jobs) {
  const state = JSON.stringify(jobs.map(({ id, status }) => [id, status, language]));
  if (state !== shown) {
    const empty = el("p", { class: "empty", text: t("long.empty") });
    box.replaceChildren(...(jobs.length ? jobs.map(row) : [empty]));
    shown = state;
  }
  for (const job of jobs) numbers(job);
}

function row(job) {
  const { id, status, title } = job;
  const name = title || id;
  const ways = (WAYS[status] ?? []).map((way) =>
    button(ICONS[way], t(`long.${way}`), () => act(id, way).catch(failed)),
  );
  const files = results(job);
  const bin = button("bin", t("do.delete"), () => remove(id, name).catch(failed), { words: false });
  return el(
    "article",
    { class: "card job", "data-job": id, "data-status": status },
    el(
      "header",
      {},
      el("p", { class: "excerpt", text: name }),
      el("span", { class: `badge ${status}`, text: t(`job.${status}`) }),
    ),
    el("progress", { max: 1, "aria-label": t("long.progress") }),
    el("p", { class: "hint" }),
    el("div", { class: "item-tools" }, ...files, ...ways, bin),
  );
}

/** What can be taken: all of it, or of one that rests what there is. */
function results({ id, status, response_format: format, title, progress }) {
  const done = status === "done";
  const rests = ["paused", "cancelled", "failed"].includes(status) && progress.utterances_done > 0;
  if (!done && !rests) return [];
  const name = (title || id).slice(0, 32).replace(/[^\p{L}\p{N}]+/gu, "-");
  const partial = done ? "" : "partial=true&";
  const audio = () => fetched(`/v1/jobs/${id}/audio?${partial}`, `${name}.${format}`);
  const captions = (kind) => () =>
    fetched(`/v1/jobs/${id}/captions?${partial}format=${kind}`, `${name}.${kind}`);
  return [
    button("download", t(done ? "long.audio" : "long.audio_part"), audio, { kind: "soft" }),
    button("captions", "SRT", captions("srt")),
    button("captions", "VTT", captions("vtt")),
  ];
}

function numbers({ id, progress, error, created_at: created }) {
  const card = $(`[data-job="${CSS.escape(id)}"]`, box);
  const { utterances_done: done, utterances_total: total, seconds, fraction } = progress;
  $("progress", card).value = fraction ?? 0;
  const facts = [
    `${number((fraction ?? 0) * 100)} %`,
    t("long.utterances", { done: number(done ?? 0), total: number(total ?? 0) }),
    clock(seconds ?? 0),
    created ? moment(created * 1000) : null,
    error?.message,
  ];
  $(".hint", card).textContent = facts.filter(Boolean).join(" · ");
}

async function act(id, way) {
  await ask(`/v1/jobs/${id}/${way}`, { method: "POST" });
  await look();
}

async function remove(id, name) {
  if (!(await sure(t("long.sure"), t("do.delete"), name))) return;
  await ask(`/v1/jobs/${id}`, { method: "DELETE" });
  await look();
}

async function fetched(path, name) {
  try {
    saveFile(await (await ask(path)).blob(), name);
  } catch (error) {
    failed(error);
  }
}

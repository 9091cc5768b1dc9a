// How the server is, looked at while somebody looks.

import { $, el } from "../dom.js";
import { getJson, Refused } from "../api.js";
import { number, t } from "../i18n.js";
import { line } from "../wave.js";

const EVERY = 2000; // milliseconds
const KEPT = 90; // values of a line
const SPAN = 10; // looks over which the throughput is taken
const METERS = ["throughput", "queue", "memory", "pages"];
const lines = Object.fromEntries(METERS.map((name) => [name, []]));
let well = false;
let timer = null;
const sound = []; // { at, audio } of the last looks: speeches are counted when they end

export function begin() {
  draw();
  window.addEventListener("language", draw);
  window.addEventListener("theme", redraw);
  document.addEventListener("visibilitychange", () => timer && !document.hidden && look());
  watch();
}

/** The light in the frame: looked at more often while all is not well. */
async function watch() {
  if (!timer && !document.hidden) await look();
  setTimeout(watch, well ? 15_000 : 3_000);
}

export function enter() {
  timer = setInterval(() => !document.hidden && look(), EVERY);
  look();
}

export function leave() {
  clearInterval(timer);
  timer = null;
}

function draw() {
  const cards = METERS.map((name) =>
    el(
      "article",
      { class: "card meter", id: `meter-${name}` },
      el("h2", { text: t(`system.${name}`) }),
      el("p", { class: "value", text: "–" }),
      el("p", { class: "hint" }),
      el("canvas", { class: "line", "aria-hidden": "true" }),
    ),
  );
  $("#meters").replaceChildren(...cards);
}

async function look() {
  try {
    const health = await getJson("/health");
    tellHealth(health);
    well = health.ready;
    if (!timer) return;
    note(health, await getJson("/stats"));
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    well = false;
    window.dispatchEvent(new CustomEvent("health", { detail: { state: "away" } }));
  }
}

function tellHealth({ ready, queue }) {
  const state = !ready ? "starting" : queue.waiting ? "full" : queue.running ? "busy" : "ready";
  const detail = { state, waiting: queue.waiting };
  window.dispatchEvent(new CustomEvent("health", { detail }));
}

function note(health, stats) {
  const now = performance.now() / 1000;
  const audio = stats.audio_seconds;
  sound.push({ at: now, audio });
  if (sound.length > SPAN) sound.shift();
  const past = now - sound[0].at;
  const pace = past && audio !== undefined ? Math.max(0, audio - sound[0].audio) / past : 0;
  const { running, waiting } = health.queue;
  const { memory = {}, engine = {} } = stats;
  const gpu = health.gpu_memory_used_gb;
  const bytes = gpu === undefined ? memory.rss_bytes : gpu * 1e9;
  meter("throughput", audio === undefined ? null : pace, `${number(pace, 1)}×`, t("system.pace_hint"));
  const of = t("system.queue_hint", { running: number(running), waiting: number(waiting) });
  meter("queue", running + waiting, number(running + waiting), of);
  const size = bytes === undefined ? null : `${number(bytes / 1e9, 2)} GB`;
  meter("memory", bytes ?? null, size, memoryHint(health));
  const share = engine.pages_total ? engine.pages_used / engine.pages_total : null;
  const pages = t("system.pages_hint", { used: engine.pages_used, total: engine.pages_total });
  meter("pages", share, share === null ? null : `${number(share * 100)} %`, pages, 1);
  facts(health, stats);
}

function memoryHint(health) {
  if (health.gpu_name) return t("system.gpu_hint", { total: number(health.gpu_memory_total_gb, 1) });
  return t("system.memory_hint");
}

function meter(name, value, shown, hint, most = null) {
  const card = $(`#meter-${name}`);
  $(".value", card).textContent = value === null ? "–" : shown;
  $(".hint", card).textContent = value === null ? t("system.unknown") : hint;
  if (value === null) return;
  const values = lines[name];
  values.push(value);
  if (values.length > KEPT) values.shift();
  line($("canvas", card), values, most ?? Math.max(...values) * 1.15);
}

function redraw() {
  for (const [name, values] of Object.entries(lines)) {
    if (values.length) line($("canvas", $(`#meter-${name}`)), values, Math.max(...values) * 1.15);
  }
}

function facts(health, stats) {
  const made = stats.successful_requests;
  const told = {
    model: health.model_id,
    device: health.gpu_name ?? health.device,
    precision: health.precision,
    speeches: number(made),
    failed: number(stats.failed_requests),
    peak: number(stats.peak_concurrent),
    mean: made ? `${number(stats.avg_generation_time, 2)} s` : null,
    sound: stats.audio_seconds === undefined ? null : `${number(stats.audio_seconds, 0)} s`,
  };
  const rows = Object.entries(told).filter(([, value]) => value != null);
  $("#facts").replaceChildren(
    ...rows.map(([name, value]) =>
      el("div", {}, el("dt", { text: t(`fact.${name}`) }), el("dd", { text: value })),
    ),
  );
}

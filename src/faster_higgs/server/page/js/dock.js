// The player at the foot of the page: one take, made just now or kept earlier.

import { $, announce, el, saveFile, setIcon, tell } from "./dom.js";
import { ask } from "./api.js";
import { clock, known, number, t } from "./i18n.js";
import { Player } from "./player.js";
import { question } from "./question.js";
import { Samples } from "./pcm.js";
import { settings } from "./settings.js";
import { Take } from "./take.js";
import { draw } from "./wave.js";
import * as store from "./store.js";
import * as voices from "./voices.js";

const player = new Player();
const box = $("#dock");
const canvas = $("#dock-wave");
let take = null;
let state = "idle"; // playing, paused, over

/** Speak: ask for it, play it while it comes, keep it. Gives the take once all has come. */
export async function speak(order, { like = null } = {}) {
  take?.stop();
  player.open(24_000);
  const mine = new Take(order);
  show(mine, "playing");
  announce(t("say.asked"));
  mine.addEventListener("sound", ({ detail }) => take === mine && player.feed(detail));
  mine.addEventListener("utterance", () => take === mine && write());
  await mine.receive();
  if (take === mine) await finished(mine, like);
  return mine;
}

/** Play something that is there already. */
export function play({ samples, order, ...known }) {
  take?.stop();
  player.open(samples.rate);
  const old = Object.assign(new Take(order), { samples, ...known, state: "done" });
  show(old, "playing");
  player.feed(samples.all());
  player.end();
}

/** End what is being made and played. */
export function stop() {
  if (!take || (!take.busy && state !== "playing")) return;
  take.stop();
  player.stop();
  state = "over";
  announce(t("say.stopped"));
  refresh();
}

/** The voice that a take becomes, in the server's memory of it or by its sound. */
export async function saveVoice({ order, samples, take: id }) {
  const told = await question({
    ...{ title: t("save.title"), hint: t("save.hint"), label: t("save.name"), yes: t("do.save") },
  });
  if (!told) return;
  try {
    await voices.keep({ name: told.value, take: id, sound: samples.wav(), words: order.text });
    tell(t("save.done", { name: told.value }));
  } catch (error) {
    failed(error);
  }
}

/** A file in the format of the settings: WAV at once, others made again with the same seed. */
export async function download({ order, samples, seed }) {
  const format = settings.format();
  const name = `${order.text.trim().slice(0, 32).replace(/[^\p{L}\p{N}]+/gu, "-") || "speech"}.${format}`;
  if (format === "wav") return saveFile(samples.wav(), name);
  announce(t("say.asked"));
  const body = { ...order.body, seed: Number(seed), response_format: format, stream: false };
  try {
    const answer = await ask(order.path, { json: body });
    return saveFile(await answer.blob(), name);
  } catch (error) {
    return failed(error);
  }
}

export function failed(error) {
  if (error.name === "AbortError") return;
  tell(error.message, { error: true, close: t("do.close") });
}

async function finished(mine, like) {
  player.end();
  if (!mine.samples.length) state = "over";
  refresh();
  if (mine.state === "failed") return failed(mine.error);
  if (mine.state === "stopped") return;
  announce(t("say.done", { n: number(mine.samples.seconds, 1) }));
  if (known(`finish.${mine.finish}`)) failed(new Error(t(`finish.${mine.finish}`)));
  if (like) tell(t(mine.samples.same(like) ? "history.same" : "history.differs"));
  await store.add(mine);
}

function show(one, how) {
  take = one;
  state = how;
  box.hidden = false;
  delete box.dataset.heard;
  canvas.setAttribute("aria-valuenow", "0");
  write();
  refresh();
  requestAnimationFrame(frame);
}

/** The utterances as they are known; before that the text as it was given. */
function write() {
  const parts = take.utterances.filter(Boolean);
  const shown = parts.length ? parts : [{ text: take.order.text, start: 0, end: null }];
  const spans = shown.map(({ text, start, speaker }) =>
    el("span", {
      ...{ class: "utterance", "data-start": start },
      text: speaker ? `${speaker}: ${text}\n` : `${text} `,
    }),
  );
  $("#dock-text").replaceChildren(...spans);
  mark();
}

/** Highlight what is being heard. */
function mark() {
  const seconds = player.place / take.samples.rate;
  const spans = [...$("#dock-text").children];
  const now = state === "idle" ? null : spans.findLast((one) => one.dataset.start <= seconds);
  for (const one of spans) {
    const is = one === now;
    if (one.classList.contains("now") === is) continue;
    one.classList.toggle("now", is);
    if (is) one.setAttribute("aria-current", "true");
    else one.removeAttribute("aria-current");
    if (is) one.parentNode.scrollTop = one.offsetTop - 4;
  }
}

function refresh() {
  if (!take) return;
  const { busy, samples, first, factor, seed } = take;
  const playing = state === "playing";
  setIcon($("#dock-play"), playing ? "pause" : "play");
  $("#dock-play").ariaLabel = t(playing ? "do.pause" : "do.play");
  $("#dock-play").disabled = !samples.length;
  $("#dock-stop").hidden = !busy;
  const ready = !busy && samples.length > 0;
  $("#dock-again").hidden = !ready;
  $("#dock-save").hidden = !ready || !take.order.text || take.order.kind === "dialogue";
  $("#dock-download").hidden = !ready;
  $("#dock-format").textContent = settings.format();
  $("#stat-first").textContent = first === null ? "–" : `${number(first, 2)} s`;
  $("#stat-factor").textContent = factor === null ? "–" : number(factor, 2);
  $("#stat-seed").textContent = seed ?? "–";
  Object.assign(box.dataset, { state, making: take.state, samples: samples.length });
  box.dataset.gaps = player.gaps;
  progress();
}

function progress() {
  const { samples } = take;
  const total = take.busy ? Math.max(samples.length, take.guess * samples.rate) : samples.length;
  draw(canvas, samples, { place: player.place, total });
  const at = player.place / samples.rate;
  $("#dock-time").textContent = `${clock(at)} / ${clock(samples.seconds)}`;
  canvas.setAttribute("aria-valuemax", samples.seconds.toFixed(1));
  canvas.setAttribute("aria-valuenow", at.toFixed(1));
  canvas.setAttribute("aria-valuetext", `${clock(at)} / ${clock(samples.seconds)}`);
  mark();
}

function frame() {
  if (!take) return;
  refresh();
  if (take.busy || state === "playing") requestAnimationFrame(frame);
}

/** Go on from a place in samples. */
function seek(place) {
  const { samples } = take;
  const target = Math.max(0, Math.min(samples.length, Math.round(place)));
  if (!player.ready) player.open(samples.rate);
  player.seek(target);
  player.feed(samples.from(target));
  if (!take.busy) player.end();
  if (state === "over") resume();
  refresh();
}

function resume() {
  player.resume();
  state = "playing";
  requestAnimationFrame(frame);
}

function toggle() {
  if (state === "playing") {
    player.pause();
    state = "paused";
  } else if (state === "paused") resume();
  else seek(0);
  refresh();
}

player.addEventListener("begin", () => {
  box.dataset.heard = take.busy ? "while making" : "after making";
  announce(t("say.playing"));
});
player.addEventListener("over", () => {
  state = "over";
  refresh();
});
$("#dock-play").addEventListener("click", toggle);
$("#dock-stop").addEventListener("click", stop);
$("#dock-hide").addEventListener("click", () => {
  stop();
  box.hidden = true;
  $("#main").focus();
});
$("#dock-download").addEventListener("click", () => download(take));
$("#dock-save").addEventListener("click", () => saveVoice(take));
$("#dock-again").addEventListener("click", () => again(take));
$("#stat-seed").addEventListener("click", () => {
  settings.setSeed(take.seed);
  tell(t("dock.seed_kept", { n: take.seed }));
});
canvas.addEventListener("click", (event) => {
  const { left, width } = canvas.getBoundingClientRect();
  seek(((event.clientX - left) / width) * take.samples.length);
});
canvas.addEventListener("keydown", (event) => {
  const { rate, length } = take.samples;
  const places = {
    ArrowLeft: player.place - 2 * rate,
    ArrowRight: player.place + 2 * rate,
    Home: 0,
    End: length,
  };
  if (!(event.key in places)) return;
  event.preventDefault();
  seek(places[event.key]);
});
for (const event of ["language", "theme", "settings"]) window.addEventListener(event, refresh);
new ResizeObserver(() => take && progress()).observe(canvas);

/** The same once more: the same settings and the same seed. */
export function again({ order, samples, seed }) {
  const known = samples?.length ? Samples.from(samples.all(), samples.rate) : null;
  return speak({ ...order, body: { ...order.body, seed: Number(seed) } }, { like: known });
}

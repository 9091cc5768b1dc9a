// How it is spoken: the panel beside the views. Sends only what was changed; the rest is the server's.

import { $, $$, remember, remembered } from "./dom.js";
import { number } from "./i18n.js";
import * as voices from "./voices.js";

const panel = $("#settings");
const drawn = $$("[data-set]", panel);
let limits = null;

export const settings = {
  /** What the server says of itself before anything is asked. */
  get limits() {
    return limits;
  },

  async load() {
    const answer = await fetch("/page/settings.json", { cache: "no-store" });
    limits = await answer.json();
    const names = { ras_win_len: "ras_window", ras_win_max_num_repeat: "ras_repeats" };
    for (const field of drawn) {
      const usual = limits.defaults[names[field.dataset.set] ?? field.dataset.set];
      if (usual !== undefined && field.matches("input")) field.placeholder = String(usual);
    }
    $("#set-format").replaceChildren(...limits.formats.map((name) => new Option(name, name)));
    restore();
  },

  format: () => $("#set-format").value || "wav",

  setSeed(seed) {
    $("#set-seed").value = seed;
    changed();
  },

  /** Show a body's settings in the panel, to go on from them. */
  show(body) {
    reset();
    $("#set-voice").value = body.voice ?? "";
    $("#set-speed").value = Math.log2(body.speed ?? 1);
    $("#set-seed").value = body.seed ?? "";
    showScene(body.scene_prompt);
    for (const field of drawn) field.value = body[field.dataset.set] ?? "";
    changed();
  },

  /** Fields of a request. Throws nothing: the fields do not take what is wrong. */
  body({ voice = false } = {}) {
    const told = {};
    if (voice && $("#set-voice").value) told.voice = $("#set-voice").value;
    if (speed() !== 1) told.speed = speed();
    const scene = wishedScene();
    if (scene !== null) told.scene_prompt = scene;
    const seed = $("#set-seed").value.trim();
    if (/^-?\d+$/.test(seed)) told.seed = Number(seed);
    for (const field of drawn) {
      if (field.value === "" || !field.checkValidity()) continue;
      told[field.dataset.set] = field.type === "number" ? Number(field.value) : field.value;
    }
    return told;
  },

  /** Put the panel beside a view, which says whether a voice is chosen here. */
  place(spot) {
    if (!spot) return;
    spot.append(panel);
    $("#set-voice-field").hidden = spot.dataset.settings !== "voice";
  },
};

const speed = () => Number((2 ** Number($("#set-speed").value)).toFixed(2));

/** Null for the usual scene; nothing for none. */
function wishedScene() {
  const wish = $("#set-scene").value;
  if (wish === "none") return "";
  if (wish === "own") return $("#set-own").value.trim() || null;
  return wish || null;
}

function showScene(scene) {
  const select = $("#set-scene");
  select.value = scene === "" ? "none" : (scene ?? "");
  if (select.selectedIndex < 0) {
    select.value = "own";
    $("#set-own").value = scene;
  }
}

function changed() {
  $("#set-speed-out").textContent = `${number(speed(), 2)}×`;
  $("#set-own-field").hidden = $("#set-scene").value !== "own";
  remember("settings", {
    ...Object.fromEntries(drawn.map((field) => [field.dataset.set, field.value])),
    ...{ voice: $("#set-voice").value, speed: $("#set-speed").value, seed: $("#set-seed").value },
    ...{ scene: $("#set-scene").value, own: $("#set-own").value, format: $("#set-format").value },
  });
  window.dispatchEvent(new Event("settings"));
}

function restore() {
  const kept = remembered("settings", {});
  for (const field of drawn) field.value = kept[field.dataset.set] ?? "";
  $("#set-speed").value = kept.speed ?? 0;
  $("#set-seed").value = kept.seed ?? "";
  $("#set-scene").value = kept.scene ?? "";
  $("#set-own").value = kept.own ?? "";
  $("#set-format").value = limits.formats.includes(kept.format) ? kept.format : "wav";
  fillVoices(kept.voice ?? limits.defaults.voice ?? "");
  changed();
}

function reset() {
  for (const field of [...drawn, $("#set-seed"), $("#set-scene"), $("#set-voice"), $("#set-own")]) {
    field.value = "";
  }
  $("#set-speed").value = 0;
  changed();
}

function fillVoices(chosen) {
  voices.fill($("#set-voice"), { chosen });
}

panel.addEventListener("change", changed);
$("#set-speed").addEventListener("input", changed);
$("#set-reset").addEventListener("click", reset);
$("#set-dice").addEventListener("click", () => settings.setSeed(Math.floor(Math.random() * 2 ** 31)));
window.addEventListener("voices", () => {
  fillVoices($("#set-voice").value || remembered("settings", {}).voice || limits?.defaults.voice || "");
});
window.addEventListener("language", () => {
  fillVoices($("#set-voice").value);
  if (limits) changed();
});

// Several people talk: a cast, and turns that can be put in another order.

import { $, $$, announce, button, el, icon, remember, remembered } from "../dom.js";
import { failed, speak } from "../dock.js";
import { t } from "../i18n.js";
import { settings } from "../settings.js";
import * as voices from "../voices.js";

const COLOURS = 6;
const cast = $("#cast");
const turns = $("#turns");
let dragged = null;

export function begin() {
  $("#cast-add").addEventListener("click", () => addSpeaker({ focus: true }));
  $("#turn-add").addEventListener("click", () => addTurn({ speaker: nextSpeaker(), focus: true }));
  $("#dialogue-form").addEventListener("submit", (event) => {
    event.preventDefault();
    run().catch(failed);
  });
  window.addEventListener("voices", () => fillAll());
  window.addEventListener("language", relabel);
  window.addEventListener("pagehide", keep);
  dragging();
  restore();
}

export function leave() {
  keep();
}

function restore() {
  const kept = remembered("dialogue", null);
  const names = kept?.cast ?? [
    { name: t("dialogue.first_name"), voice: "clara" },
    { name: t("dialogue.second_name"), voice: "miles" },
  ];
  names.forEach((one) => addSpeaker(one));
  const lines = kept?.turns ?? names.map(({ name }) => ({ speaker: name, text: "" }));
  lines.forEach((one) => addTurn(one));
}

function keep() {
  remember("dialogue", { cast: speakers(), turns: written() });
}

function fillAll() {
  const { list } = voices;
  if (!list.length) return;
  $$("select", cast).forEach((one, place) => {
    const there = list.some(({ id }) => id === one.dataset.chosen);
    const chosen = there ? one.dataset.chosen : list[place % list.length].id;
    voices.fill(one, { usual: false, chosen });
    one.dataset.chosen = chosen;
  });
}

const speakers = () =>
  $$("li", cast).map((row) => ({
    name: $("input", row).value.trim(),
    voice: $("select", row).dataset.chosen,
  }));

const written = () =>
  $$("li", turns).map((row) => ({
    speaker: nameAt(Number($("select", row).value)),
    text: $("textarea", row).value.trim(),
    pause: Number($(".pause input", row).value) || 0,
  }));

const nameAt = (place) => $$("input", cast)[place]?.value.trim() ?? "";

function addSpeaker({ name = "", voice = "", focus = false } = {}) {
  const given = name || t("dialogue.speaker", { n: cast.children.length + 1 });
  const input = el("input", { value: given, maxlength: 40, autocomplete: "off" });
  const select = el("select", { "data-chosen": voice });
  const row = el(
    "li",
    {},
    el("span", { class: "dot", "aria-hidden": "true" }),
    el("label", {}, el("span", { class: "sr", "data-i18n": "dialogue.name" }), input),
    el("label", { class: "grow" }, el("span", { class: "sr", "data-i18n": "dialogue.voice" }), select),
    button("bin", t("dialogue.remove_speaker"), () => removeSpeaker(row), { words: false }),
  );
  cast.append(row);
  input.addEventListener("input", renamed);
  select.addEventListener("change", () => (select.dataset.chosen = select.value));
  fillAll();
  renamed();
  relabel();
  if (focus) input.select();
}

function removeSpeaker(row) {
  const place = [...cast.children].indexOf(row);
  for (const select of $$("select", turns)) {
    const chosen = Number(select.value);
    select.dataset.chosen = chosen > place ? chosen - 1 : chosen === place ? 0 : chosen;
  }
  row.remove();
  $("#cast-add").focus();
  renamed();
}

/** The cast has changed: the turns offer it. */
function renamed() {
  const names = $$("input", cast).map((input) => input.value);
  for (const select of $$("select", turns)) {
    const chosen = select.dataset.chosen ?? select.value;
    delete select.dataset.chosen;
    select.replaceChildren(...names.map((name, place) => new Option(name, place)));
    select.value = Math.min(Number(chosen) || 0, names.length - 1);
  }
  colour();
}

function colour() {
  $$("li", cast).forEach((row, place) => (row.dataset.colour = place % COLOURS));
  for (const row of $$("li", turns)) row.dataset.colour = Number($("select", row).value) % COLOURS;
  for (const remove of $$("button", cast)) remove.disabled = cast.children.length < 2;
  for (const remove of $$(".remove", turns)) remove.disabled = turns.children.length < 2;
}

function nextSpeaker() {
  const last = turns.lastElementChild;
  const place = last ? (Number($("select", last).value) + 1) % cast.children.length : 0;
  return nameAt(place);
}

function addTurn({ speaker = "", text = "", pause = 0, focus = false } = {}) {
  const place = Math.max(0, $$("input", cast).findIndex((one) => one.value.trim() === speaker));
  const area = el("textarea", { rows: 2 });
  area.value = text;
  const wait = el("input", { type: "number", min: 0, max: 10, step: 0.1, value: pause || "" });
  wait.placeholder = "0";
  const select = el("select", { "data-chosen": place, on: { change: colour } });
  const row = el(
    "li",
    { class: "turn" },
    el("span", { class: "grip", draggable: "true", "aria-hidden": "true" }, icon("grip")),
    el(
      "div",
      { class: "turn-body" },
      el("div", { class: "turn-head" },
        el("label", {}, el("span", { class: "sr", "data-i18n": "dialogue.who" }), select),
        el("label", { class: "pause" }, el("span", { "data-i18n": "dialogue.pause" }), wait, "s"),
        el("span", { class: "turn-tools" },
          button("up", t("dialogue.up"), () => move(row, -1, ".to-up"), { words: false, "data-tool": "up" }),
          button("down", t("dialogue.down"), () => move(row, 1, ".to-down"), { words: false, "data-tool": "down" }),
          button("bin", t("dialogue.remove_turn"), () => removeTurn(row), { words: false, "data-tool": "bin" }),
        ),
      ),
      el("label", {}, el("span", { class: "sr", "data-i18n": "dialogue.text" }), area),
    ),
  );
  $("[data-tool=up]", row).classList.add("to-up");
  $("[data-tool=down]", row).classList.add("to-down");
  $("[data-tool=bin]", row).classList.add("remove");
  row.addEventListener("keydown", (event) => {
    const by = { ArrowUp: -1, ArrowDown: 1 }[event.key];
    if (!event.altKey || !by) return;
    event.preventDefault();
    move(row, by, null, event.target);
  });
  turns.append(row);
  renamed();
  relabel();
  if (focus) area.focus();
}

function removeTurn(row) {
  const near = row.nextElementSibling ?? row.previousElementSibling;
  row.remove();
  colour();
  $("textarea", near)?.focus();
}

/** One place up or down; the focus goes along. */
function move(row, by, tool, focused = null) {
  const other = by < 0 ? row.previousElementSibling : row.nextElementSibling;
  if (!other) return;
  if (by < 0) other.before(row);
  else other.after(row);
  (focused ?? $(tool, row)).focus();
  told(row);
}

function told(row) {
  const n = [...turns.children].indexOf(row) + 1;
  announce(t("dialogue.moved", { n, of: turns.children.length }));
}

function dragging() {
  turns.addEventListener("dragstart", (event) => {
    dragged = event.target.closest(".turn");
    event.dataTransfer.effectAllowed = "move";
    event.dataTransfer.setDragImage(dragged, 16, 16);
    requestAnimationFrame(() => dragged?.classList.add("dragged"));
  });
  turns.addEventListener("dragover", (event) => {
    const over = event.target.closest(".turn");
    if (!dragged) return;
    event.preventDefault();
    if (!over || over === dragged) return;
    const { top, height } = over.getBoundingClientRect();
    if (event.clientY < top + height / 2) over.before(dragged);
    else over.after(dragged);
  });
  turns.addEventListener("drop", (event) => event.preventDefault());
  turns.addEventListener("dragend", () => {
    dragged?.classList.remove("dragged");
    if (dragged) told(dragged);
    dragged = null;
  });
}

function relabel() {
  for (const one of $$("[data-i18n]", $("#view-dialogue"))) one.textContent = t(one.dataset.i18n);
  const names = { up: "dialogue.up", down: "dialogue.down", bin: "dialogue.remove_turn" };
  for (const one of $$("[data-tool]", turns)) one.ariaLabel = one.title = t(names[one.dataset.tool]);
  for (const one of $$("button", cast)) one.ariaLabel = one.title = t("dialogue.remove_speaker");
  colour();
}

async function run() {
  keep();
  const people = speakers();
  const names = people.map(({ name }) => name);
  if (names.some((name) => !name) || new Set(names).size < names.length) {
    throw new Error(t("dialogue.names"));
  }
  const lines = written().filter(({ text }) => text);
  if (!lines.length) throw new Error(t("dialogue.empty"));
  const used = people.filter(({ name }) => lines.some(({ speaker }) => speaker === name));
  const body = {
    ...settings.body(),
    turns: lines.map(({ pause, ...line }) => (pause ? { ...line, pause } : line)),
    speakers: Object.fromEntries(used.map(({ name, voice }) => [name, { voice }])),
  };
  const text = lines.map(({ speaker, text: words }) => `${speaker}: ${words}`).join("\n");
  await speak({ path: "/v1/audio/dialogue", body, text, kind: "dialogue" });
}

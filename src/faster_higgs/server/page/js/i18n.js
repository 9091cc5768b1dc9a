// The page's words in the language that was chosen. Every key is in i18n/en.json and i18n/vi.json.

import { $$, remember, remembered } from "./dom.js";

const LANGUAGES = ["en", "vi"];
let words = {};
let spare = {}; // English, for what a translation lacks

export let language = "en";

export async function load() {
  const wished = [remembered("language", null), ...navigator.languages];
  const codes = wished.filter(Boolean).map((name) => name.slice(0, 2));
  spare = await table("en");
  await choose(codes.find((code) => LANGUAGES.includes(code)) ?? "en", { keep: false });
}

export async function choose(code, { keep = true } = {}) {
  words = code === "en" ? spare : await table(code);
  language = code;
  if (keep) remember("language", code);
  document.documentElement.lang = code;
  translate(document);
  window.dispatchEvent(new Event("language"));
}

/** The words of a key, with {names} filled in. */
export function t(key, values = {}) {
  const found = words[key] ?? spare[key] ?? key;
  return found.replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);
}

export const known = (key) => key in words || key in spare;

export function translate(root) {
  for (const one of $$("[data-i18n]", root)) one.textContent = t(one.dataset.i18n);
  for (const one of $$("[data-i18n-label]", root)) {
    one.setAttribute("aria-label", t(one.dataset.i18nLabel));
    if (one.matches("button")) one.title = t(one.dataset.i18nLabel);
  }
  for (const one of $$("[data-i18n-title]", root)) one.title = t(one.dataset.i18nTitle);
  for (const one of $$("[data-i18n-placeholder]", root)) {
    one.placeholder = t(one.dataset.i18nPlaceholder);
  }
}

export const number = (value, digits = 0) =>
  new Intl.NumberFormat(language, {
    minimumFractionDigits: digits,
    maximumFractionDigits: digits,
  }).format(value);

export const moment = (milliseconds) =>
  new Intl.DateTimeFormat(language, { dateStyle: "medium", timeStyle: "short" }).format(
    milliseconds,
  );

/** Seconds as 1:02 or 1:02:03. */
export function clock(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  const parts = [Math.floor(whole / 60) % 60, whole % 60];
  if (whole >= 3600) parts.unshift(Math.floor(whole / 3600));
  return parts.map((part, place) => (place ? String(part).padStart(2, "0") : part)).join(":");
}

async function table(code) {
  const answer = await fetch(`/page/i18n/${code}.json`);
  if (!answer.ok) throw new Error(`i18n/${code}.json: ${answer.status}`);
  return answer.json();
}

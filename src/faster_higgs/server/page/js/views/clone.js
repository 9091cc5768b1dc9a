// A voice of a clip: upload or record it, hear what is wrong with it, speak with it, keep it.

import { $, el, icon, keepDraft, setIcon, tell } from "../dom.js";
import { failed, play, speak } from "../dock.js";
import { getJson } from "../api.js";
import { clock, known, number, t } from "../i18n.js";
import { decoded } from "../pcm.js";
import { record } from "../recorder.js";
import { settings } from "../settings.js";
import { draw } from "../wave.js";
import * as voices from "../voices.js";

const RATE = 24_000;
const LONGEST = 60; // seconds; the recording ends by itself
const words = $("#clone-words");
const text = $("#clone-text");
let clip = null; // { blob, name, samples, verdict }
let recording = null;

export function begin() {
  keepDraft(text, "clone");
  const file = $("#clone-file");
  $("#clone-choose").addEventListener("click", () => file.click());
  file.addEventListener("change", () => file.files[0] && take(file.files[0], file.files[0].name));
  $("#clone-record").addEventListener("click", () => toggle().catch(failed));
  $("#clone-play").addEventListener("click", listen);
  $("#clone-save").addEventListener("click", () => save().catch(failed));
  $("#clone-form").addEventListener("submit", (event) => {
    event.preventDefault();
    run().catch(failed);
  });
  words.addEventListener("change", () => clip && check().catch(failed));
  dropping($("#clone-drop"));
  window.addEventListener("language", () => clip?.verdict && notes(clip.verdict));
  window.addEventListener("theme", redraw);
  new ResizeObserver(redraw).observe($("#clone-wave"));
}

export function leave() {
  if (recording) toggle().catch(failed);
}

function dropping(area) {
  area.addEventListener("dragover", (event) => {
    event.preventDefault();
    area.classList.add("over");
  });
  area.addEventListener("dragleave", () => area.classList.remove("over"));
  area.addEventListener("drop", (event) => {
    event.preventDefault();
    area.classList.remove("over");
    const [file] = event.dataTransfer.files;
    if (file) take(file, file.name);
  });
}

async function toggle() {
  const button = $("#clone-record");
  if (!recording) {
    recording = await record((samples) => {
      $("span", button).textContent = t("clone.stop_at", { time: clock(samples.seconds) });
      if (samples.seconds >= LONGEST && recording) toggle().catch(failed);
    });
    setIcon(button, "stop");
    button.setAttribute("aria-pressed", "true");
    return;
  }
  const { stop } = recording;
  recording = null;
  setIcon(button, "mic");
  button.setAttribute("aria-pressed", "false");
  $("span", button).textContent = t("clone.record");
  const samples = await stop();
  await take(samples.wav(), t("clone.recording"));
}

/** A clip has come: show it and have it judged. */
async function take(blob, name) {
  if (blob.size > settings.limits.max_upload_bytes) {
    const most = number(settings.limits.max_upload_bytes / 2 ** 20);
    return failed(new Error(t("clone.too_large", { most })));
  }
  const samples = await decoded(blob, RATE).catch(() => null); // the server may still read it
  const mine = { blob, name, samples, verdict: null };
  clip = mine;
  $("#clone-clip").hidden = false;
  $("#clone-play").disabled = !samples;
  $("#clone-name").textContent = samples ? `${name} · ${number(samples.seconds, 1)} s` : name;
  redraw();
  return check().catch(failed);
}

async function check() {
  const mine = clip;
  $("#clone-notes").replaceChildren(el("li", { class: "wait", text: t("clone.checking") }));
  const form = new FormData();
  form.append("audio_sample", mine.blob, "clip");
  form.append("ref_text", words.value);
  try {
    mine.verdict = await getJson("/v1/audio/voices/check", { form });
  } catch (error) {
    if (mine === clip) $("#clone-notes").replaceChildren();
    throw error;
  }
  if (mine === clip) notes(mine.verdict);
}

function notes({ ok, notes: found }) {
  const rows = found.map(({ code, message, severity }) =>
    el("li", { class: severity }, icon("warn"), el("span", { text: translated(code, message) })),
  );
  if (ok && !rows.length) rows.push(el("li", { class: "good" }, icon("check"), t("check.good")));
  $("#clone-notes").replaceChildren(...rows);
}

const translated = (code, message) => (known(`check.${code}`) ? t(`check.${code}`) : message);

function ready() {
  if (!clip) throw new Error(t("clone.no_clip"));
  if (clip.verdict && !clip.verdict.ok) throw new Error(t("clone.unfit"));
  if (!words.value.trim()) {
    words.focus();
    throw new Error(t("clone.no_words"));
  }
}

async function run() {
  ready();
  const input = text.value.trim();
  if (!input) {
    text.focus();
    throw new Error(t("speak.empty"));
  }
  const ref_audio = await dataUri(clip.blob);
  const body = { ...settings.body(), input, ref_audio, ref_text: words.value.trim() };
  await speak({ path: "/v1/audio/speech", body, text: input, kind: "clone" });
}

async function save() {
  ready();
  const name = $("#clone-as").value.trim();
  if (!name) {
    $("#clone-as").focus();
    throw new Error(t("clone.no_name"));
  }
  if (!$("#clone-consent").checked) {
    $("#clone-consent").focus();
    throw new Error(t("clone.no_consent"));
  }
  const consent = "yes";
  await voices.add({ name, audio_sample: clip.blob, ref_text: words.value.trim(), consent });
  tell(t("save.done", { name }));
}

function listen() {
  const order = { path: "", body: {}, text: words.value || clip.name, kind: "sample" };
  play({ samples: clip.samples, order });
}

function redraw() {
  if (clip?.samples) draw($("#clone-wave"), clip.samples);
}

function dataUri(blob) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(`data:audio/wav;base64,${reader.result.split(",")[1]}`);
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(blob);
  });
}

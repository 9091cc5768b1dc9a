// The voices the server has, known to all views. Event: voices, on the window.

import { ask, getJson, Refused } from "./api.js";
import { el } from "./dom.js";
import { t } from "./i18n.js";

export let list = [];

export async function load() {
  list = (await getJson("/v1/audio/voices")).data;
  window.dispatchEvent(new Event("voices"));
}

export const nameOf = (voice) =>
  voice.id.startsWith("profile:") ? voice.id.slice(8).replaceAll("_", " ") : voice.name;

/** Fill a choice with all voices; what was chosen stays chosen. */
export function fill(select, { usual = true, chosen = select.value } = {}) {
  const group = (label, voices) =>
    voices.length
      ? el("optgroup", { label }, ...voices.map((one) => el("option", { value: one.id, text: nameOf(one) })))
      : null;
  const own = list.filter((one) => one.uploaded);
  const shipped = list.filter((one) => !one.uploaded && one.type !== "prompt");
  const told = list.filter((one) => !one.uploaded && one.type === "prompt");
  const parts = [
    usual ? el("option", { value: "", text: t("set.voice_usual") }) : null,
    group(t("voices.own"), own),
    group(t("voices.shipped"), shipped),
    group(t("voices.told"), told),
  ];
  select.replaceChildren(...parts.filter(Boolean));
  select.value = chosen;
  if (select.selectedIndex < 0) select.selectedIndex = 0;
}

/** A new voice of a take: by the server's own memory of it, else by its sound. */
export async function keep({ name, take, sound, words }) {
  if (take) {
    try {
      return await add({ name, take });
    } catch (error) {
      if (!(error instanceof Refused) || error.param !== "take") throw error;
    }
  }
  return add({ name, audio_sample: sound, ref_text: words });
}

/** A new voice; the fields of the form, sounds as blobs. Throws Refused. */
export async function add(fields) {
  const form = new FormData();
  for (const [name, value] of Object.entries(fields)) {
    if (value instanceof Blob) form.append(name, value, value.name ?? "clip.wav");
    else if (value) form.append(name, value);
  }
  const made = await getJson("/v1/audio/voices", { form });
  await load();
  return made;
}

export async function remove(id) {
  await ask(`/v1/audio/voices/${encodeURIComponent(id)}`, { method: "DELETE" });
  await load();
}

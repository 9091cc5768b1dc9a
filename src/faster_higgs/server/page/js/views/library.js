// The voices: hear them, speak with them, delete one's own, make one of a description.

import { $, button, el, tell } from "../dom.js";
import { ask } from "../api.js";
import { failed, play, speak } from "../dock.js";
import { t } from "../i18n.js";
import { decoded } from "../pcm.js";
import { sure } from "../question.js";
import * as voices from "../voices.js";

let go = null;

export function begin(frame) {
  ({ go } = frame);
  for (const event of ["voices", "language"]) window.addEventListener(event, show);
  $("#describe-form").addEventListener("submit", (event) => {
    event.preventDefault();
    describe().catch(failed);
  });
}

export function enter() {
  show();
  voices.load().catch(failed);
}

function show() {
  const rows = [...voices.list].sort((one, two) => two.uploaded - one.uploaded);
  $("#voice-grid").replaceChildren(...rows.map(card));
}

function card(voice) {
  const told = voice.prompt ?? voice.speaker_description ?? (voice.ref_text && `“${voice.ref_text}”`);
  const kind = voice.uploaded ? "own" : voice.type === "prompt" ? "told" : "shipped";
  return el(
    "article",
    { class: "card voice", "data-voice": voice.id },
    el(
      "header",
      {},
      el("span", { class: "face", "aria-hidden": "true", text: voices.nameOf(voice).slice(0, 1) }),
      el("div", {}, el("h3", { text: voices.nameOf(voice) }), el("p", { class: "hint", text: t(`voices.${kind}`) })),
    ),
    el("p", { class: "said", text: told ?? "" }),
    el(
      "div",
      { class: "item-tools" },
      button("play", t("voices.sample"), () => sample(voice).catch(failed), { kind: "soft" }),
      button("wave", t("voices.use"), () => use(voice)),
      voice.uploaded
        ? button("bin", t("do.delete"), () => remove(voice).catch(failed), { words: false })
        : null,
    ),
  );
}

/** Its clip; a voice told in words has none and says a sentence. */
async function sample(voice) {
  if (voice.type === "prompt") {
    const text = t("voices.sentence");
    const body = { input: text, voice: voice.id, seed: 1 };
    return speak({ path: "/v1/audio/speech", body, text, kind: "sample" });
  }
  const answer = await ask(`/v1/audio/voices/${encodeURIComponent(voice.id)}/sample`);
  const samples = await decoded(await answer.blob(), 24_000);
  const order = { path: "", body: {}, text: voice.ref_text ?? voice.name, kind: "sample" };
  return play({ samples, order, voice: voice.id });
}

function use(voice) {
  $("#set-voice").value = voice.id;
  $("#set-voice").dispatchEvent(new Event("change", { bubbles: true }));
  go("speak");
  $("#speak-text").focus();
}

async function remove(voice) {
  if (!(await sure(t("voices.sure", { name: voice.name }), t("do.delete")))) return;
  await voices.remove(voice.id);
  tell(t("voices.deleted", { name: voice.name }));
}

async function describe() {
  const [name, prompt] = [$("#describe-name"), $("#describe-words")];
  await voices.add({ name: name.value.trim(), type: "prompt", prompt: prompt.value.trim() });
  tell(t("save.done", { name: name.value.trim() }));
  name.value = prompt.value = "";
}

// What was spoken in this browser: hear it, make it again, keep its voice.

import { $, button, el } from "../dom.js";
import { again, download, failed, play, saveVoice } from "../dock.js";
import { moment, number, t } from "../i18n.js";
import { settings } from "../settings.js";
import { sure } from "../question.js";
import * as store from "../store.js";

const box = $("#takes");
let go = null;

export function begin(frame) {
  ({ go } = frame);
  for (const event of ["takes", "language"]) {
    window.addEventListener(event, () => !$("#view-history").hidden && enter());
  }
  $("#history-clear").addEventListener("click", async () => {
    if (await sure(t("history.clear_sure"), t("history.clear"))) await store.clear().catch(failed);
  });
}

export async function enter() {
  try {
    const takes = await store.all();
    const empty = el("p", { class: "empty", text: t("history.empty") });
    box.replaceChildren(...(takes.length ? takes.map(row) : [empty]));
    $("#history-clear").hidden = !takes.length;
  } catch (error) {
    failed(error);
  }
}

function row(take) {
  const { id, at, order, voice, seed, samples } = take;
  const facts = [
    ...[moment(at), t(`kind.${order.kind}`), voice, `${number(samples.seconds, 1)} s`],
    t("history.seed", { n: seed }),
  ];
  const listen = button("play", t("do.play"), () => play(take), { kind: "soft", words: false });
  return el(
    "article",
    { class: "card item", "data-take": id },
    listen,
    el(
      "div",
      { class: "item-text" },
      el("p", { class: "excerpt", text: order.text }),
      el("p", { class: "hint", text: facts.filter(Boolean).join(" · ") }),
    ),
    el(
      "div",
      { class: "item-tools" },
      button("again", t("do.again"), () => again(take)),
      ...tools(take),
    ),
  );
}

function tools(take) {
  const { id, order } = take;
  const small = { words: false };
  const made = [button("download", t("do.download"), () => download(take), small)];
  if (order.kind === "speak") {
    made.push(button("sliders", t("history.use"), () => use(take), small));
  }
  if (order.kind !== "dialogue") {
    made.push(button("save", t("do.save_voice"), () => saveVoice(take), small));
  }
  made.push(button("bin", t("do.delete"), () => store.remove(id).catch(failed), small));
  return made;
}

/** Back to the Speak view with the text and settings of a take. */
function use({ order, seed }) {
  settings.show({ ...order.body, seed });
  $("#speak-text").value = order.text;
  go("speak");
}

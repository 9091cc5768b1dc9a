// A text, spoken.

import { $, keepDraft } from "../dom.js";
import { failed, speak } from "../dock.js";
import { number, t } from "../i18n.js";
import { settings } from "../settings.js";

const text = $("#speak-text");

export function begin({ go }) {
  keepDraft(text, "speak");
  text.addEventListener("input", count);
  window.addEventListener("language", count);
  $("#speak-pause").addEventListener("click", () => {
    text.setRangeText(" [pause:500ms] ", text.selectionStart, text.selectionEnd, "end");
    text.focus();
    count();
  });
  $("#speak-form").addEventListener("submit", (event) => {
    event.preventDefault();
    if (text.value.length > settings.limits.max_text_chars) return longer(go);
    run();
  });
  count();
}

function run() {
  const input = text.value.trim();
  if (!input) {
    text.focus();
    return failed(new Error(t("speak.empty")));
  }
  const body = { ...settings.body({ voice: true }), input };
  return speak({ path: "/v1/audio/speech", body, text: input, kind: "speak" });
}

function longer(go) {
  $("#long-text").value = text.value;
  go("long");
}

function count() {
  const most = settings.limits.max_text_chars;
  const over = text.value.length > most;
  $("#speak-count").textContent = t(over ? "speak.over" : "speak.count", {
    n: number(text.value.length),
    most: number(most),
  });
  $("#speak-count").classList.toggle("over", over);
}

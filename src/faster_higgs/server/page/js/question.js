// One question at a time, in the page's own dialog. Knows nothing of what is asked.

import { $ } from "./dom.js";

/** What was typed and whether "keep" was ticked; null when it was called off. */
export function question({ title, hint = "", label = null, yes, keep = null, secret = false, value = "" }) {
  const box = $("#ask");
  if (box.open) box.close();
  $("#ask-title").textContent = title;
  $("#ask-hint").textContent = hint;
  $("#ask-field").hidden = label === null;
  $("#ask-label").textContent = label ?? "";
  $("#ask-tick").hidden = keep === null;
  $("#ask-keep-label").textContent = keep ?? "";
  $("#ask-keep").checked = false;
  $("#ask-yes").textContent = yes;
  const field = $("#ask-value");
  Object.assign(field, { type: secret ? "password" : "text", value, required: label !== null });
  return new Promise((resolve) => {
    const done = new AbortController();
    const end = (answer) => {
      done.abort();
      if (box.open) box.close();
      resolve(answer);
    };
    const listen = (target, event, react) =>
      target.addEventListener(event, react, { signal: done.signal });
    listen($("#ask-form"), "submit", (event) => {
      event.preventDefault();
      end({ value: field.value.trim(), keep: $("#ask-keep").checked });
    });
    listen($("#ask-no"), "click", () => end(null));
    listen(box, "close", () => end(null));
    box.showModal();
    (label === null ? $("#ask-yes") : field).focus();
  });
}

/** Yes or no. */
export const sure = async (title, yes, hint = "") =>
  (await question({ title, yes, hint })) !== null;

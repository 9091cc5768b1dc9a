// The API key, for this tab or for this browser, as its owner chooses.

import { question } from "./question.js";
import { t } from "./i18n.js";

const NAME = "higgs.key";
let asking = null;

export const key = () => sessionStorage.getItem(NAME) ?? localStorage.getItem(NAME) ?? "";

export function forgetKey() {
  sessionStorage.removeItem(NAME);
  localStorage.removeItem(NAME);
}

/** Ask for a key, once however many wait for it; whether one was given. */
export function askKey(wrong = false) {
  asking ??= given(wrong).finally(() => (asking = null));
  return asking;
}

async function given(wrong) {
  const told = await question({
    title: t("key.title"),
    hint: t(wrong ? "key.wrong" : "key.hint"),
    label: t("key.label"),
    yes: t("key.use"),
    keep: t("key.keep"),
    secret: true,
  });
  if (!told?.value) return false;
  forgetKey();
  (told.keep ? localStorage : sessionStorage).setItem(NAME, told.value);
  return true;
}

// The frame: views as tabs, theme, language, the key; and what every view has in common.

import { $, $$, announce, remember, remembered, setIcon, tell } from "./dom.js";
import { askKey, key } from "./key.js";
import * as i18n from "./i18n.js";
import { settings } from "./settings.js";
import * as dock from "./dock.js";
import * as voices from "./voices.js";
import * as speak from "./views/speak.js";
import * as clone from "./views/clone.js";
import * as dialogue from "./views/dialogue.js";
import * as long from "./views/long.js";
import * as library from "./views/library.js";
import * as history from "./views/history.js";
import * as system from "./views/system.js";

const { t } = i18n;
const VIEWS = { speak, clone, dialogue, long, voices: library, history, system };
const THEMES = ["auto", "light", "dark"];
const ICONS = { auto: "auto", light: "sun", dark: "moon" };
const tabs = $$("[role=tab]");
let shown = null;

function show(name, { focus = false } = {}) {
  if (!(name in VIEWS)) return show("speak");
  if (shown && shown !== name) VIEWS[shown].leave?.();
  for (const tab of tabs) {
    const is = tab.id === `tab-${name}`;
    tab.setAttribute("aria-selected", is);
    tab.tabIndex = is ? 0 : -1;
    if (is && focus) tab.focus();
    if (is) tab.scrollIntoView({ block: "nearest", inline: "center" });
    $(`#${tab.getAttribute("aria-controls")}`).hidden = !is;
  }
  const first = shown !== name;
  shown = name;
  settings.place($("[data-settings]", $(`#view-${name}`)));
  if (first) VIEWS[name].enter?.();
  document.title = `${t(`tab.${name}`)} · Faster Higgs`;
}

const go = (name) => {
  location.hash = name;
};

function onTabKey(event) {
  const place = tabs.indexOf(event.target);
  const last = tabs.length - 1;
  const places = {
    ...{ ArrowDown: place + 1, ArrowRight: place + 1, ArrowUp: place - 1, ArrowLeft: place - 1 },
    ...{ Home: 0, End: last },
  };
  if (!(event.key in places)) return;
  event.preventDefault();
  const next = tabs[(places[event.key] + tabs.length) % tabs.length];
  go(next.id.slice(4));
  next.focus();
}

/** Ctrl+Enter does what the view is for; Escape ends a speech. */
function onKey(event) {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
    const main = $("[data-primary]", $(`#view-${shown}`));
    if (main && !main.disabled) main.click();
    event.preventDefault();
  }
  if (event.key === "Escape" && !$("dialog[open]")) dock.stop();
}

function setTheme(theme) {
  remember("theme", theme);
  if (theme === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  drawTheme(theme);
  window.dispatchEvent(new Event("theme"));
}

function drawTheme(theme) {
  const button = $("#theme");
  setIcon(button, ICONS[theme]);
  button.ariaLabel = button.title = t("frame.theme", { name: t(`theme.${theme}`) });
}

function drawHealth({ state, waiting }) {
  const box = $("#health");
  box.dataset.state = state;
  $(".health-text").textContent = t(`health.${state}`, { n: waiting ?? 0 });
}

async function start() {
  await i18n.load();
  $("#language").value = i18n.language;
  drawTheme(remembered("theme", "auto"));
  await settings.load();
  for (const view of Object.values(VIEWS)) view.begin({ go });
  show(location.hash.slice(1) || "speak");
  $("#key-open").hidden = !settings.limits.key_needed;
  if (settings.limits.key_needed && !key()) await askKey();
  await voices.load();
}

tabs.forEach((tab) => {
  tab.addEventListener("click", () => go(tab.id.slice(4)));
  tab.addEventListener("keydown", onTabKey);
});
window.addEventListener("hashchange", () => {
  if (location.hash.slice(1) in VIEWS) show(location.hash.slice(1));
});
window.addEventListener("language", () => {
  drawTheme(remembered("theme", "auto"));
  if (shown) show(shown);
});
window.addEventListener("health", ({ detail }) => drawHealth(detail));
document.addEventListener("keydown", onKey);
$("#theme").addEventListener("click", () => {
  const next = THEMES[(THEMES.indexOf(remembered("theme", "auto")) + 1) % THEMES.length];
  setTheme(next);
  announce(t("frame.theme", { name: t(`theme.${next}`) }));
});
$("#language").addEventListener("change", (event) => i18n.choose(event.target.value));
$("#key-open").addEventListener("click", async () => {
  if (await askKey()) await voices.load().catch(dock.failed);
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () =>
  window.dispatchEvent(new Event("theme")),
);

start()
  .catch((error) => tell(error.message, { error: true, close: t("do.close") }))
  .finally(() => (document.documentElement.dataset.started = "yes"));

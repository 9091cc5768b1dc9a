// Small things every view does with the document. Knows nothing of speech.

export const $ = (selector, within = document) => within.querySelector(selector);
export const $$ = (selector, within = document) => [...within.querySelectorAll(selector)];

/** An element. `on` holds listeners, `class` and `text` what they say, the rest attributes. */
export function el(tag, { on = {}, text, ...attributes } = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === true) made.setAttribute(name, "");
    else if (value !== false && value != null) made.setAttribute(name, value);
  }
  if (text !== undefined) made.textContent = text;
  made.append(...children.filter((child) => child != null));
  for (const [event, listener] of Object.entries(on)) made.addEventListener(event, listener);
  return made;
}

const SVG = "http://www.w3.org/2000/svg";

export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS(SVG, "use");
  use.setAttribute("href", `/page/icons.svg#${name}`);
  svg.append(use);
  return svg;
}

export const setIcon = (button, name) =>
  $("use", button).setAttribute("href", `/page/icons.svg#${name}`);

/** A button with an icon; without words the label is what is read aloud. */
export function button(name, label, click, { kind = "ghost", words = true, ...more } = {}) {
  const kinds = `${kind} ${words ? "small" : "small square"}`;
  const made = el("button", { type: "button", class: kinds, ...more, on: { click } }, icon(name));
  if (words) made.append(el("span", { text: label }));
  else Object.assign(made, { ariaLabel: label, title: label });
  return made;
}

/** Tell those who listen to the page. */
export function announce(words) {
  $("#status").textContent = words;
}

/** Show a sentence for a while; an error stays until it is closed. */
export function tell(words, { error = false, close = "" } = {}) {
  for (const old of $$(".toast")) if ($("p", old).textContent === words) old.remove();
  const note = el("div", { class: error ? "toast error" : "toast" });
  note.append(icon(error ? "warn" : "check"), el("p", { text: words }));
  const gone = () => note.remove();
  if (error) note.append(button("close", close, gone, { words: false }));
  else setTimeout(gone, 5000);
  const shown = $("#toasts");
  shown.append(note);
  while (shown.children.length > 3) shown.firstElementChild.remove();
  if (error) $("#alert").textContent = words;
  else announce(words);
}

export function saveFile(blob, name) {
  const url = URL.createObjectURL(blob);
  const link = el("a", { href: url, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}

/** The value under a name in the browser, or what is given instead. */
export function remembered(name, otherwise) {
  try {
    return JSON.parse(localStorage.getItem(`higgs.${name}`)) ?? otherwise;
  } catch {
    return otherwise;
  }
}

export function remember(name, value) {
  try {
    localStorage.setItem(`higgs.${name}`, JSON.stringify(value));
  } catch {
    // Full or forbidden: the page works without.
  }
}

/** Keep what is typed in a field: written when it is left, never while somebody types. */
export function keepDraft(field, name) {
  field.value = remembered(`draft.${name}`, "");
  const keep = () => remember(`draft.${name}`, field.value);
  field.addEventListener("change", keep);
  window.addEventListener("pagehide", keep);
}

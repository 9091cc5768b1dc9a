// The theme that was chosen, before anything is drawn. Not a module: those wait for the document.
"use strict";
try {
  const chosen = JSON.parse(localStorage.getItem("higgs.theme"));
  if (chosen === "dark" || chosen === "light") document.documentElement.dataset.theme = chosen;
} catch {
  // Storage is forbidden here; the system's theme is shown.
}

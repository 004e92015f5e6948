// What every page does: live, times, actions, cut texts, keys, theme, copy buttons.
import "./times.js";
import "./live.js";
import "./actions.js";
import { copyText } from "./copying.js";
import "./cut.js";
import "./table_copy.js";
import { key, goTo } from "./keys.js";

const root = document.documentElement;
const PANEL_EDGE_PIXELS = 8; // Between a menu and the edge of the screen.

function keep(name, value) {
  try {
    if (value === null) localStorage.removeItem(name);
    else localStorage.setItem(name, value);
  } catch {
    // It holds for this page then.
  }
}

// On a narrow screen the places stand in a row that is wider than it: the one that is shown is seen.
document
  .querySelector('.sidebar [aria-current="page"]')
  ?.scrollIntoView({ block: "nearest", inline: "center" });

// --- Theme: the system's, or one of two
const THEMES = ["system", "light", "dark"];

function nameTheme() {
  for (const place of document.querySelectorAll("[data-theme-name]")) {
    place.textContent = root.dataset.theme ?? "system";
  }
}

export function setTheme(theme) {
  if (theme === "system") delete root.dataset.theme;
  else root.dataset.theme = theme;
  keep("theme", theme === "system" ? null : theme);
  nameTheme();
}

function nextTheme() {
  const now = THEMES.indexOf(root.dataset.theme ?? "system");
  setTheme(THEMES[(now + 1) % THEMES.length]);
}

function toggleSidebar() {
  const narrow = root.dataset.sidebar === "narrow";
  if (narrow) delete root.dataset.sidebar;
  else root.dataset.sidebar = "narrow";
  keep("sidebar", narrow ? null : "narrow");
}

const shortcuts = document.getElementById("shortcuts");
const showShortcuts = () => { if (!shortcuts.open) shortcuts.showModal(); };

document.addEventListener("click", (event) => {
  const at = (selector) => event.target.closest?.(selector);
  if (at("[data-theme-switch]")) nextTheme();
  else if (at("[data-toggle-sidebar]")) toggleSidebar();
  else if (at("[data-shortcuts]")) showShortcuts();
  else if (at("[data-copy]")) copyText(at("[data-copy]").dataset.copy, at("[data-copy]"));
  // A menu closes when something else is clicked.
  for (const menu of document.querySelectorAll("details.menu[open]")) {
    if (!menu.contains(event.target)) menu.open = false;
  }
});

// The panel of a menu stays on the screen.
function place(menu) {
  const panel = menu.querySelector(":scope > .panel");
  panel.style.translate = "";
  const { left, right } = panel.getBoundingClientRect(), most = root.clientWidth - PANEL_EDGE_PIXELS;
  if (left < PANEL_EDGE_PIXELS) panel.style.translate = `${PANEL_EDGE_PIXELS - left}px`;
  else if (right > most) panel.style.translate = `${most - right}px`;
}

const OPEN_MENU = "details.menu[open]";
document.addEventListener("toggle", (event) => { if (event.target.matches?.(OPEN_MENU)) place(event.target); }, { capture: true });
window.addEventListener("resize", () => document.querySelectorAll(OPEN_MENU).forEach(place));

// What a filter leaves open is not in the address.
document.addEventListener("htmx:configRequest", (event) => {
  if (!event.target.matches("form.filters")) return;
  const { formData } = event.detail;
  for (const name of new Set(formData.keys())) if (!formData.getAll(name).some(Boolean)) formData.delete(name);
});

document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  const menu = event.target.closest?.("details.menu[open]");
  if (menu) { menu.open = false; menu.querySelector("summary").focus(); }
});

key("/", () => { const find = document.getElementById("find"); find.focus(); find.select(); });
key("?", showShortcuts);
key("t", nextTheme);
key("[", toggleSidebar);
for (const link of document.querySelectorAll(".sidebar a[data-key]")) goTo(link.dataset.key, link);
nameTheme();

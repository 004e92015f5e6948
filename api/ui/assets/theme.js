// Before anything is drawn: the theme and the sidebar that this person chose. Not a module, so that
// the browser waits for it.
(() => {
  const root = document.documentElement;
  root.dataset.scripts = ""; // What only scripts can use is shown, what they open is hidden.
  try {
    const theme = localStorage.getItem("theme");
    if (theme === "light" || theme === "dark") root.dataset.theme = theme;
    if (localStorage.getItem("sidebar") === "narrow") root.dataset.sidebar = "narrow";
  } catch {
    // Storage may be forbidden; then the system decides.
  }
})();

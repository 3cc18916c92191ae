// Runs before the page is painted, so that a remembered theme never flashes. No module: modules are deferred.
(() => {
  let theme = null;
  try {
    theme = localStorage.getItem("theme");
  } catch {
    // storage is switched off: the system's colours then
  }
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
})();

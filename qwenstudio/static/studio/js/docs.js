// Before the page is painted: its language (the description is English), and the theme that was chosen in the studio,
// or else the system's.
document.documentElement.lang = "en";
(() => {
  let theme = null;
  try {
    theme = localStorage.getItem("theme");
  } catch {
    // storage is switched off
  }
  const system = matchMedia("(prefers-color-scheme: dark)");
  const paint = () =>
    document.documentElement.classList.toggle("dark-mode", theme === "dark" || (theme !== "light" && system.matches));
  system.addEventListener("change", paint);
  paint();
})();

// A secret is shown once: its dialogue stays until somebody says that it is stored. Escape only warns.

const dialog = document.querySelector("[data-once]");
const warning = dialog.querySelector("[data-once-warning]");
const done = dialog.querySelector("[data-once-stored]");
let stored = false;

function warn() {
  warning.hidden = false;
  done.focus();
}

dialog.close(); // without scripts it stands open in the page
dialog.showModal();

dialog.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  event.preventDefault();
  warn();
});
dialog.addEventListener("cancel", (event) => {
  event.preventDefault();
  warn();
});
// Browsers let no page stop a second request to close.
dialog.addEventListener("close", () => {
  if (stored || dialog.open) return;
  dialog.showModal();
  warn();
});
window.addEventListener("beforeunload", (event) => {
  if (!stored) event.preventDefault();
});

done.addEventListener("click", (event) => {
  event.preventDefault();
  stored = true;
  location.replace(done.href); // "back" must not ask to send the form once more
});

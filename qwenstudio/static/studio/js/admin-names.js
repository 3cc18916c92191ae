// Names for those fields of the Django admin that have none for whoever does not see: in its tables the column says what
// a field is, and nothing connects the two.

function name() {
  for (const field of document.querySelectorAll("td input:not([type=hidden]), td select, td textarea")) {
    if (field.labels?.length || field.ariaLabel || field.title || field.getAttribute("aria-labelledby")) continue;
    const cell = field.closest("td");
    const head = cell.closest("table").querySelectorAll("thead th");
    const text = head[[...cell.parentElement.children].indexOf(cell)]?.textContent.trim();
    if (text) field.ariaLabel = text;
  }
  // A tooltip that is named is a picture; a table that scrolls must be reached by keys.
  for (const tip of document.querySelectorAll("span.help-tooltip[aria-label]")) tip.setAttribute("role", "img");
  for (const box of document.querySelectorAll(".inline-group .tabular")) box.tabIndex = 0;
}

name();
addEventListener("load", name); // some are made only then

// Names for those fields of the Django admin that have none for whoever does not see: in its tables the column says what
// a field is, and nothing connects the two.

for (const field of document.querySelectorAll("td input:not([type=hidden]), td select, td textarea")) {
  if (field.labels?.length || field.ariaLabel || field.title || field.getAttribute("aria-labelledby")) continue;
  const cell = field.closest("td");
  const head = cell.closest("table").querySelectorAll("thead th");
  const name = head[[...cell.parentElement.children].indexOf(cell)]?.textContent.trim();
  if (name) field.ariaLabel = name;
}

// A tooltip that is named is a picture; a table that scrolls must be reached by keys.
for (const tip of document.querySelectorAll("span.help-tooltip[aria-label]")) tip.setAttribute("role", "img");
for (const box of document.querySelectorAll(".inline-group .tabular")) box.tabIndex = 0;

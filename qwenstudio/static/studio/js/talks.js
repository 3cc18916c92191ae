// The list of conversations beside the one that is open: what is new comes to its top.

export class Talks {
  constructor(list, none, { page }) {
    this.list = list;
    this.none = none;
    this.page = page;
  }

  address(id) {
    return `${this.page}${id}/`;
  }

  /** At the top, as the one that is open. */
  lift({ id, title }) {
    const found = this.#find(id);
    const row = found ?? document.createElement("li");
    const link = found?.firstElementChild ?? document.createElement("a");
    link.href = this.address(id);
    link.dir = "auto";
    row.append(link);
    for (const other of this.list.querySelectorAll("[aria-current]")) other.removeAttribute("aria-current");
    link.setAttribute("aria-current", "page");
    this.list.prepend(row);
    this.none.hidden = true;
    this.rename({ id, title });
  }

  rename({ id, title }) {
    const link = this.#find(id)?.firstElementChild;
    if (link) link.textContent = link.title = title || id;
  }

  #find(id) {
    return [...this.list.children].find((row) => row.firstElementChild.getAttribute("href") === this.address(id));
  }
}

// What stands in the form, kept for this tab until it is closed: a reload loses nothing. Pictures are kept by their ids.
// Signing out takes it away (common.js), because the next person may sit at the same tab.

export const PREFIX = "draft:";

export class Draft {
  /** `who`: the member and organisation that it belongs to. */
  constructor(who) {
    this.key = PREFIX + who;
  }

  read() {
    try {
      return JSON.parse(sessionStorage.getItem(this.key) || "null");
    } catch {
      return null; // no storage, or something that is none of ours
    }
  }

  write(state) {
    try {
      sessionStorage.setItem(this.key, JSON.stringify(state));
    } catch {
      // without storage the draft lasts as long as the page
    }
  }
}

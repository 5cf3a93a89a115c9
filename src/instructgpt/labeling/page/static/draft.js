// What is on the page: the server keeps it, and this tab keeps what the server does not know yet.

import { announce, explain, Refused, send, warn, words } from "./page.js";

export const still = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

const randomId = () =>
  [...crypto.getRandomValues(new Uint8Array(16))].map((b) => b.toString(16).padStart(2, "0")).join("");

export class Draft {
  #url; #version; #show; #mirror; #tab; #edits;
  #undoable = [];
  #saving = null;
  #dirty = false;
  #closed = false;
  #complained = false;

  // `now` is what the page shows; `show` is called when it has changed other than by the person's own typing.
  constructor({ url, version, content, show }) {
    this.#url = url;
    this.#version = version;
    this.#show = show;
    this.#mirror = `draft:${url}`;
    this.#tab = sessionStorage.getItem("tab") || randomId();
    sessionStorage.setItem("tab", this.#tab);
    const kept = JSON.parse(sessionStorage.getItem(this.#mirror) || "null");
    this.now = { ...content, ...(kept && this.#isNewer(kept, version, content) ? kept.now : {}) };
    this.#edits = this.now.edit?.number ?? 0;
  }

  // A later version on the server may be of this tab, from a draft whose receipt never came back.
  #isNewer(kept, version, content) {
    return kept.version >= version
      || (content.edit?.tab === this.#tab && kept.now.edit?.number >= content.edit.number);
  }

  change(edit, { remember = true } = {}) {
    const before = JSON.stringify(this.now);
    edit(this.now);
    if (JSON.stringify(this.now) === before) return;
    if (remember) this.#undoable.push(before);
    this.now.submission = null; // another answer is another submission
    this.#show();
    this.save();
  }

  undo() {
    const before = this.#undoable.pop();
    if (!before) return;
    const { step, seconds, notes, text } = this.now; // what was typed has the browser's own undo
    this.now = { ...JSON.parse(before), step, seconds, notes, text, submission: null };
    announce(words.undone);
    this.#show();
    this.save();
  }

  // The id and the time that belong to this answer, however often and from wherever it is sent again.
  submission() {
    this.now.submission ??= {
      client_uuid: randomId(),
      seconds: this.now.seconds,
    };
    this.#keep();
    return this.now.submission;
  }

  save() {
    this.#dirty = true;
    this.now.edit = { tab: this.#tab, number: ++this.#edits };
    this.#keep();
    if (!this.#closed) this.#saving ??= this.#saveAll().finally(() => { this.#saving = null; });
  }

  // No draft may overtake the answer: nothing is sent until `reopen`.
  async close() {
    this.#closed = true;
    await this.#saving;
  }

  reopen() {
    this.#closed = false;
    if (this.#dirty) this.save();
  }

  forget() { sessionStorage.removeItem(this.#mirror); }

  #keep() { sessionStorage.setItem(this.#mirror, JSON.stringify({ version: this.#version, now: this.now })); }

  async #saveAll() {
    while (this.#dirty && !this.#closed) {
      this.#dirty = false;
      try {
        this.#version = (await send("PUT", `${this.#url}/draft`, { draft: this.now, version: this.#version })).version;
        this.#keep();
        document.getElementById("saved").textContent = `✓ ${words.saved}`;
        if (this.#complained) warn(""); // what others said is not ours to take back
        this.#complained = false;
      } catch (error) {
        this.#dirty = this.#complained = true;
        document.getElementById("saved").textContent = "";
        if (error instanceof Refused) {
          if (error.status === 409) this.forget(); // a reload shows the newer one
          warn(error.status === 409 ? words.elsewhere : explain(error));
          this.#closed = true;
          return;
        }
        warn(explain(error));
        await still(1500);
      }
    }
  }
}

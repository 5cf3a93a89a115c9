// What every page does: sign in, post buttons and forms, say what went wrong.

export const words = JSON.parse(document.body.dataset.words);
const csrf = document.querySelector("meta[name=csrf]").content;
const banner = document.getElementById("banner");

export class Refused extends Error {
  constructor(status, message) { super(message); this.status = status; }
}

// One request; throws Refused when the server says no, TypeError when it does not answer.
export async function send(method, url, body, options = {}) {
  const response = await fetch(url, {
    method,
    headers: { "Content-Type": "application/json", "X-CSRF-Token": csrf },
    body: JSON.stringify(body),
    ...options,
  });
  if (response.status >= 500) throw new TypeError(`status ${response.status}`);
  const answer = await response.json();
  if (!response.ok) throw new Refused(response.status, answer.error);
  return answer;
}

export function warn(text) {
  banner.textContent = text || "";
  banner.hidden = !text;
}

export function announce(text) { document.getElementById("live").textContent = text; }

export function explain(error) {
  if (!(error instanceof Refused)) return words.notSaved;
  return error.status === 401 ? words.signedOut : error.message;
}

async function postAndGo(url, body) {
  try {
    const answer = await send("POST", url, body);
    if (answer.url) location.assign(answer.url); else location.reload();
  } catch (error) {
    warn(explain(error));
  }
}

for (const button of document.querySelectorAll("[data-post]")) {
  button.addEventListener("click", () => postAndGo(button.dataset.post, { ...JSON.parse(button.dataset.body || "{}") }));
}
for (const form of document.querySelectorAll("form[data-form]")) {
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const numbers = Object.fromEntries([...new FormData(form)].map(([key, value]) => [key, Number(value)]));
    postAndGo(form.dataset.form, numbers);
  });
}
for (const button of document.querySelectorAll("dialog [data-close]")) {
  button.addEventListener("click", () => button.closest("dialog").close());
}

const join = document.getElementById("join");
if (join) {
  join.focus();
  join.addEventListener("click", async () => {
    try {
      const answer = await send("POST", "/join", { token: location.hash.slice(1) });
      location.replace(answer.url);
    } catch (error) {
      warn(error instanceof Refused ? words.failed : words.notSaved);
    }
  });
}

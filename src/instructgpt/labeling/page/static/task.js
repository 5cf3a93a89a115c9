// One task: what is on the page is a draft that the server keeps; a submission is sent until it is taken.

import { Draft, still } from "./draft.js";
import { announce, explain, Refused, send, warn, words } from "./page.js";

const root = document.getElementById("task");
const url = root.dataset.url;
const count = Number(root.dataset.count);
const withRatings = root.dataset.ratings === "yes";
const isRanking = root.dataset.kind === "rank";
const steps = [...root.querySelectorAll(".step")];
const cards = [...root.querySelectorAll(".card")];
const columns = [...root.querySelectorAll(".column")];
const $ = (id) => document.getElementById(id);
const letter = (index) => "ABCDEFGHI"[index];

const empty = {
  ranks: Array(count).fill(0), ratings: Array(count).fill(null), flags: {}, use_case: null,
  text: "", notes: "", seconds: 0, step: 0, submission: null,
};
const draft = new Draft({
  url,
  version: Number(root.dataset.version),
  content: { ...empty, ...JSON.parse(root.dataset.draft) },
  show: () => show(),
});
draft.now.ratings ??= empty.ratings;

// ---- showing it ------------------------------------------------------------------------------

function show() {
  const focused = document.activeElement;
  for (const box of root.querySelectorAll("[data-flag]")) {
    const value = draft.now.flags[box.dataset.flag];
    box.checked = Boolean(box.dataset.of === undefined ? value : value?.[box.dataset.of]);
  }
  for (const label of root.querySelectorAll("[data-only-if]")) label.hidden = !draft.now.flags[label.dataset.onlyIf];
  for (const radio of root.querySelectorAll("[data-rating]")) {
    radio.checked = draft.now.ratings[radio.dataset.rating] === Number(radio.value);
  }
  if ($("use-case")) $("use-case").value = draft.now.use_case || "";
  if ($("answer") && $("answer").value !== draft.now.text) $("answer").value = draft.now.text;
  if ($("notes").value !== draft.now.notes) $("notes").value = draft.now.notes;
  cards.forEach((card, index) => {
    const rank = draft.now.ranks[index];
    const list = columns[rank].querySelector(".cards");
    if (card.parentElement !== list) list.append(card);
    card.querySelector("select").value = rank;
    card.setAttribute("aria-label", describe(index));
  });
  if (root.contains(focused) && focused !== document.activeElement) focused.focus();
  if (isRanking) showStep();
}

function showStep() {
  const now = Math.min(draft.now.step, steps.length - 1);
  steps.forEach((step, index) => { step.hidden = index !== now; });
  $("step").textContent = `${now + 1}/${steps.length}`;
  $("back").hidden = now === 0;
  $("forward").hidden = now === steps.length - 1;
  $("submit").hidden = now !== steps.length - 1;
}

function describe(index) {
  const rank = draft.now.ranks[index];
  if (!rank) return `${words.answer} ${letter(index)}: ${words.unranked}`;
  const others = cards.map((_, i) => i).filter((i) => i !== index && draft.now.ranks[i] === rank).map(letter);
  const tie = others.length ? `, ${words.tiedWith} ${others.join(", ")}` : "";
  return `${words.answer} ${letter(index)} ${words.moved} ${rank}${tie}`;
}

function goTo(step) {
  draft.now.step = Math.max(0, Math.min(step, steps.length - 1));
  showStep();
  draft.save();
  const here = steps[draft.now.step];
  const first = here.hasAttribute("data-ranking") ? cards[0] : here.querySelector("h2");
  first.focus();
  if (!here.hasAttribute("data-ranking")) window.scrollTo(0, 0);
}

// ---- ranks -----------------------------------------------------------------------------------

let lastRanked = null;

function rank(index, to) {
  if (to < 0 || to > count) return;
  draft.change(() => { draft.now.ranks[index] = to; });
  if (to) lastRanked = index;
  announce(describe(index));
  cards[index].focus();
}

function tie(index) {
  const candidates = cards.map((_, i) => i).filter((i) => i !== index && draft.now.ranks[i]);
  const other = candidates.includes(lastRanked) ? lastRanked : candidates.at(-1);
  if (other !== undefined) rank(index, draft.now.ranks[other]);
}

function rankByRating() {
  if (draft.now.ratings.includes(null)) return warn(words.rateAll);
  const levels = [...new Set(draft.now.ratings)].sort((a, b) => b - a);
  draft.change(() => { draft.now.ranks = draft.now.ratings.map((rating) => 1 + levels.indexOf(rating)); });
  cards[0].focus();
}

function dragging(card, index) {
  const grip = card.querySelector(".grip");
  let from = null;
  const target = (event) => document.elementFromPoint(event.clientX, event.clientY)?.closest(".column");
  const stop = () => {
    from = null;
    card.classList.remove("dragged");
    card.style.removeProperty("transform");
    columns.forEach((column) => column.classList.remove("over"));
  };
  grip.addEventListener("pointerdown", (event) => {
    if (event.button !== 0 || event.target.closest("select")) return;
    from = [event.clientX, event.clientY];
    grip.setPointerCapture(event.pointerId);
  });
  grip.addEventListener("pointermove", (event) => {
    if (!from) return;
    const [x, y] = [event.clientX - from[0], event.clientY - from[1]];
    if (!card.classList.contains("dragged") && Math.hypot(x, y) < 6) return;
    card.classList.add("dragged");
    card.style.transform = `translate(${x}px, ${y}px)`;
    const over = target(event);
    columns.forEach((column) => column.classList.toggle("over", column === over));
  });
  grip.addEventListener("pointerup", (event) => {
    const over = card.classList.contains("dragged") ? target(event) : null;
    stop();
    if (over) rank(index, Number(over.dataset.rank)); else card.focus();
  });
  grip.addEventListener("pointercancel", stop);
}

// ---- submitting ------------------------------------------------------------------------------

function answer() {
  const common = { ...draft.submission(), notes: draft.now.notes };
  if (!isRanking) return { ...common, text: draft.now.text };
  const flags = {};
  for (const box of root.querySelectorAll("[data-flag]")) {
    const of = box.dataset.of;
    const asked = !box.parentElement.dataset.onlyIf || Boolean(draft.now.flags[box.parentElement.dataset.onlyIf]);
    if (of === undefined) flags[box.dataset.flag] = box.checked;
    else (flags[box.dataset.flag] ??= [])[of] = asked ? box.checked : null;
  }
  const ratings = withRatings ? draft.now.ratings : null;
  return { ...common, ranks: draft.now.ranks, ratings, flags, use_case: draft.now.use_case };
}

function missing() {
  if (!isRanking) return draft.now.text.trim() ? null : words.writeFirst;
  const unrated = draft.now.ratings.indexOf(null);
  if (withRatings && unrated >= 0) { goTo(1 + unrated); return words.rateAll; }
  if (draft.now.ranks.includes(0)) { goTo(steps.length - 1); return words.rankAll; }
  return null;
}

// Sent again, unchanged, until the server takes it, so that it is stored exactly once.
async function finish(path, body) {
  if (root.inert) return;
  root.inert = true; // what is being sent is what stays on the page
  await draft.close();
  for (;;) {
    try {
      const { url: next } = await send("POST", `${url}/${path}`, body);
      draft.forget();
      location.assign(next);
      return;
    } catch (error) {
      warn(explain(error));
      if (error instanceof Refused) break;
      await still(1500);
    }
  }
  root.inert = false;
  draft.reopen();
}

function submit() {
  const problem = missing();
  warn(problem);
  if (!problem) finish(isRanking ? "ranking" : "demonstration", answer());
}

function skip() { $("skip-dialog").showModal(); }

// ---- mouse and keyboard ----------------------------------------------------------------------

function listen() {
  cards.forEach((card, index) => {
    dragging(card, index);
    card.querySelector("select").addEventListener("change", (event) => rank(index, Number(event.target.value)));
  });
  root.addEventListener("change", ({ target }) => {
    const { flag, of, rating } = target.dataset;
    if (rating !== undefined) draft.change(() => { draft.now.ratings[rating] = Number(target.value); });
    else if (flag && of === undefined) draft.change(() => { draft.now.flags[flag] = target.checked; });
    else if (flag) draft.change(() => { (draft.now.flags[flag] ??= Array(count).fill(false))[of] = target.checked; });
    else if (target.id === "use-case") draft.change(() => { draft.now.use_case = target.value || null; });
  });
  $("notes").addEventListener("input", () => draft.change(() => { draft.now.notes = $("notes").value; }, { remember: false }));
  $("answer")?.addEventListener("input", () => draft.change(() => { draft.now.text = $("answer").value; }, { remember: false }));
  $("submit").addEventListener("click", submit);
  $("undo").addEventListener("click", () => draft.undo());
  $("skip").addEventListener("click", skip);
  $("skip-yes").addEventListener("click", () => {
    $("skip-dialog").close();
    finish("skip", { reason: $("skip-reason").value });
  });
  $("help").addEventListener("click", () => $("help-dialog").showModal());
  $("back")?.addEventListener("click", () => goTo(draft.now.step - 1));
  $("forward")?.addEventListener("click", () => goTo(draft.now.step + 1));
  $("by-rating")?.addEventListener("click", rankByRating);
  document.addEventListener("keydown", onKey);
}

function onKey(event) {
  const { key, target } = event;
  if (event.isComposing || root.inert || document.querySelector("dialog[open]")) return;
  if (key === "Enter" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); submit(); return; }
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (key === "Escape" && target.matches("textarea")) { target.blur(); return; }
  if (target.matches("textarea, select, input:not([type=checkbox], [type=radio])")) return;
  if (key === "Enter" && target.matches("button, a, summary")) return;
  const done = everywhere(key) || (isRanking && onStep(key, target));
  if (done) event.preventDefault();
}

function everywhere(key) {
  const actions = { u: () => draft.undo(), s: skip, n: () => $("notes").focus(), "?": () => $("help-dialog").showModal() };
  if (!actions[key]) return false;
  actions[key]();
  return true;
}

function onStep(key, target) {
  const here = steps[draft.now.step];
  const onRanking = here.hasAttribute("data-ranking");
  const digit = /^[1-9]$/.test(key) ? Number(key) : 0;
  const answerIndex = /^[a-i]$/i.test(key) ? key.toLowerCase().charCodeAt(0) - 97 : -1;
  if (key === "Enter") { if (onRanking) submit(); else goTo(draft.now.step + 1); return true; }
  if (answerIndex >= 0 && answerIndex < count) {
    if (onRanking) cards[answerIndex].focus(); else goTo(1 + answerIndex);
    return true;
  }
  if (!onRanking) {
    if (!digit || digit > 7 || here.dataset.answer === undefined) return false;
    draft.change(() => { draft.now.ratings[here.dataset.answer] = digit; });
    return true;
  }
  const index = cards.indexOf(target.closest(".card"));
  if (index < 0 || (target.matches(".text") && key.startsWith("Arrow"))) return false; // a long text scrolls
  if (digit) rank(index, digit);
  else if (key === "=") tie(index);
  else if (key === "ArrowUp") rank(index, Math.max(1, (draft.now.ranks[index] || 2) - 1));
  else if (key === "ArrowDown") rank(index, Math.min(count, draft.now.ranks[index] + 1));
  else if (key === "ArrowLeft") cards[(index + count - 1) % count].focus();
  else if (key === "ArrowRight") cards[(index + 1) % count].focus();
  else return false;
  return true;
}

function showTime() {
  const whole = Math.floor(draft.now.seconds);
  $("timer").textContent = `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
}

setInterval(() => {
  if (!document.hidden) draft.now.seconds += 1;
  showTime();
}, 1000);

listen();
show();
showTime();
if (isRanking) { if (draft.now.step === steps.length - 1) cards[0].focus(); } else $("answer").focus();

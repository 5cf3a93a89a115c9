// The conversation: an array of turns, drawn anew when its shape changes. Text is always text.
import * as api from "./api.js";
import { presets, words } from "./words.js";

const $ = (id) => document.getElementById(id);
const state = { turns: [], language: startLanguage(), running: null, names: [], tasks: {}, feedback: false };

function startLanguage() {
  const asked = new URLSearchParams(location.search).get("lang") ?? localStorage.getItem("language");
  return asked in words ? asked : navigator.language.startsWith("zh") ? "zh" : "en";
}

const word = (name) => words[state.language][name];

function make(tag, className, text) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
}

function button(label, act) {
  const element = make("button", "", label);
  element.type = "button";
  element.onclick = () => act(element);
  return element;
}

function translate() {
  document.documentElement.lang = state.language;
  for (const e of document.querySelectorAll("[data-text]")) e.textContent = word(e.dataset.text);
  for (const e of document.querySelectorAll("[data-label]")) e.setAttribute("aria-label", word(e.dataset.label));
  for (const e of document.querySelectorAll("[data-placeholder]")) e.placeholder = word(e.dataset.placeholder);
  $("language").textContent = state.language === "en" ? "中文" : "English";
  $("language").lang = state.language === "en" ? "zh" : "en";
  const chosen = Math.max(0, $("preset").selectedIndex);
  $("preset").replaceChildren(...word("presets").map((name, i) => new Option(name, i)));
  $("preset").selectedIndex = chosen;
  draw();
}

// Messages up to (without) turn `end`; of two sides, the one that was preferred goes on.
function history(end) {
  const messages = $("system").value.trim() ? [{ role: "system", content: $("system").value.trim() }] : [];
  for (const turn of state.turns.slice(0, end)) {
    const content = turn.role === "user" ? turn.text : turn.sides[turn.chosen ?? 0].text;
    messages.push({ role: turn.role, content });
  }
  return messages;
}

function settings() {
  const body = { temperature: Number($("temperature").value), top_p: Number($("top-p").value),
    max_tokens: Number($("max-tokens").value) };
  if ($("seed").value !== "") body.seed = Number($("seed").value);
  return body;
}

// The task that a model is asked for: one that has a soft prompt per task answers to nothing else.
const taskFor = (model) => (state.tasks[model].length ? { task: $("task").value } : {});

function showTasks() {
  const [tasks, chosen] = [state.tasks[$("model").value] ?? [], $("task").value];
  $("task").replaceChildren(...tasks.map((name) => new Option(name, name)));
  if (tasks.includes(chosen)) $("task").value = chosen;
  $("task").hidden = !tasks.length;
}

async function reply() {
  if (state.loop) await offer().catch(() => {}); // what is wrong shows in the answer
  const blind = $("compare").checked && state.names.length > 1;
  const other = state.names.find((name) => name !== $("model").value);
  const names = blind ? [$("model").value, other] : [$("model").value];
  if (blind && Math.random() < 0.5) names.reverse();
  const messages = history(state.turns.length);
  const turn = { role: "assistant", blind, messages, sides: names.map((model) => ({ model, text: "", note: "" })) };
  state.turns.push(turn);
  state.running = new AbortController();
  draw();
  keepPrompt(messages);
  await Promise.all(turn.sides.map((side) => fill(side, { ...settings(), ...taskFor(side.model), model: side.model, messages })));
  state.running = null;
  draw();
  $("text").focus();
}

async function fill(side, body) {
  try {
    const reason = await api.answer($("key").value, body, state.running.signal, (text) => {
      side.text += text;
      if (side.element) side.element.textContent = side.text;
      $("turns").scrollTop = $("turns").scrollHeight;
    });
    if (reason === "length") side.note = "cut";
  } catch (error) {
    if (error.name === "AbortError") side.note = "stopped";
    else side.error = error.message;
  }
}

function draw() {
  $("turns").replaceChildren(...state.turns.map((turn, i) => (turn.role === "user" ? drawUser(turn, i) : drawAnswer(turn, i))));
  $("send").hidden = Boolean(state.running);
  $("stop").hidden = !state.running;
  $("turns").scrollTop = $("turns").scrollHeight;
}

function drawUser(turn, index) {
  const box = make("section", "turn user");
  box.append(make("div", "text", turn.text));
  if (!state.running) {
    const tools = make("div", "tools");
    tools.append(button(word("edit"), () => edit(box, turn, index)));
    box.append(tools);
  }
  return box;
}

function edit(box, turn, index) {
  const area = make("textarea", "edit");
  area.value = turn.text;
  const tools = make("div", "tools");
  const save = () => {
    if (!area.value.trim()) return;
    state.turns.splice(index, state.turns.length, { role: "user", text: area.value.trim() });
    reply();
  };
  tools.append(button(word("save"), save), button(word("cancel"), draw));
  box.replaceChildren(area, tools);
  area.focus();
}

function drawAnswer(turn, index) {
  const box = make("section", "turn assistant");
  const sides = make("div", turn.sides.length > 1 ? "sides" : "");
  turn.sides.forEach((side, i) => {
    const part = make("div");
    const hidden = turn.blind && turn.chosen === undefined;
    part.append(make("div", "name", hidden ? word(i ? "answerB" : "answerA") : side.model));
    side.element = make("div", "text", side.text);
    part.append(side.element);
    if (side.note) part.append(make("div", "name", word(side.note)));
    if (side.error) part.append(make("div", "error", side.error));
    if (!state.running) part.append(answerTools(turn, side));
    sides.append(part);
  });
  box.append(sides);
  if (!state.running) box.append(turnTools(turn, index));
  return box;
}

function answerTools(turn, side) {
  const tools = make("div", "tools");
  tools.append(button(word("copy"), async (e) => {
    await navigator.clipboard.writeText(side.text);
    e.textContent = word("copied");
  }));
  if (!state.feedback || turn.blind) return tools;
  for (const good of [true, false]) {
    const thumb = button(word(good ? "good" : "bad"), async () => {
      const reason = consents() ? prompt(word("why")) : null;
      if (reason === null) return;
      await send({ prompt: turn.messages, completions: [side.text], models: [side.model], good, reason }, () => { side.good = good; });
    });
    thumb.setAttribute("aria-pressed", side.good === good);
    tools.append(thumb);
  }
  return tools;
}

function turnTools(turn, index) {
  const tools = make("div", "tools");
  if (index === state.turns.length - 1) {
    tools.append(button(word("again"), () => { state.turns.pop(); reply(); }));
  }
  if (turn.blind && turn.chosen === undefined && !turn.sides.some((side) => side.error)) {
    for (const [name, ranks] of [["left", [1, 2]], ["right", [2, 1]], ["same", [1, 1]]]) {
      tools.append(button(word(name), () => vote(turn, ranks)));
    }
  }
  return tools;
}

function vote(turn, ranks) {
  turn.chosen = ranks[0] <= ranks[1] ? 0 : 1;
  draw();
  if (!state.feedback) return;
  send({ prompt: turn.messages, completions: turn.sides.map((s) => s.text), models: turn.sides.map((s) => s.model), ranks }, () => {});
}

// Asked once, and changed in the settings.
function consents() {
  if (localStorage.getItem("consent") === null) setConsent(confirm(word("mayKeep")));
  return localStorage.getItem("consent") === "yes";
}

function setConsent(given) {
  localStorage.setItem("consent", given ? "yes" : "no");
  $("consent").checked = given;
}

// A random name that nobody else knows; what was given can be taken back under it.
function person() {
  if (!localStorage.getItem("person")) {
    const bytes = crypto.getRandomValues(new Uint8Array(16));
    localStorage.setItem("person", [...bytes].map((b) => b.toString(16).padStart(2, "0")).join(""));
  }
  return localStorage.getItem("person");
}

async function keepPrompt(messages) {
  if (!state.feedback || localStorage.getItem("consent") !== "yes") return;
  const row = { prompt: messages, user: person(), consent: true };
  await api.feedback($("key").value, row).catch((error) => $("turns").append(make("p", "error", error.message)));
}

async function forget() {
  const { removed } = await api.feedback($("key").value, { user: person() }, "DELETE");
  setConsent(false);
  localStorage.removeItem("person");
  $("forgotten").textContent = `${word("forgotten")} ${removed}`;
}

async function send(row, then) {
  if (!consents()) return;
  try {
    const { stored, reason } = await api.feedback($("key").value, { ...row, user: person(), consent: true });
    if (!stored) throw new Error(word(reason));
    then();
    draw();
  } catch (error) {
    $("turns").append(make("p", "error", error.message));
  }
}

function exportConversation() {
  const turns = state.turns.map(({ role, text, sides }) => ({ role, text, sides: sides?.map(({ model, text }) => ({ model, text })) }));
  const body = { messages: history(state.turns.length), turns, settings: settings() };
  const link = make("a");
  link.href = URL.createObjectURL(new Blob([JSON.stringify(body, null, 2)], { type: "application/json" }));
  link.download = "conversation.json";
  link.click();
  URL.revokeObjectURL(link.href);
}

// A loop's models come and go; what was chosen stays as long as it is served. The loop's own name,
// another for one of them (its root), would compare a model with itself.
async function offer() {
  const models = (await api.models($("key").value)).filter((model) => !model.root);
  const names = models.map((model) => model.id);
  if (names.join() === state.names.join()) return;
  const chosen = $("model").value;
  state.names = names;
  state.tasks = Object.fromEntries(models.map((model) => [model.id, model.tasks ?? []]));
  $("model").replaceChildren(...names.map((name) => new Option(name, name)));
  $("model").value = names.includes(chosen) ? chosen : names[0];
  showTasks();
  $("compare").disabled = names.length < 2;
  if (names.length < 2) $("compare").checked = false;
}

async function connect() {
  try {
    const said = await api.feedbackState($("key").value);
    state.feedback = said.enabled;
    state.loop = said.loop;
    $("loop").hidden = !said.loop;
    $("consent-line").hidden = !state.feedback;
    await offer();
    $("compare").checked = said.comparing;
    draw();
  } catch (error) {
    $("turns").replaceChildren(make("p", "error", error.message));
    openSettings(true);
  }
}

function openSettings(open) {
  $("settings").hidden = !open;
  $("open-settings").setAttribute("aria-expanded", open);
}

function submit() {
  const text = $("text").value.trim();
  if (!text || state.running) return;
  $("text").value = "";
  $("text").style.height = "auto";
  state.turns.push({ role: "user", text });
  reply();
}

$("ask").onsubmit = (event) => { event.preventDefault(); submit(); };
$("settings").onsubmit = (event) => event.preventDefault();
$("stop").onclick = () => state.running?.abort();
$("fresh").onclick = () => { state.running?.abort(); state.turns = []; draw(); $("text").focus(); };
$("consent").checked = localStorage.getItem("consent") === "yes";
$("consent").onchange = () => setConsent($("consent").checked);
$("forget").onclick = () => forget().catch((error) => { $("forgotten").textContent = error.message; });
$("export").onclick = exportConversation;
$("open-settings").onclick = () => openSettings($("settings").hidden);
$("key").onchange = () => { sessionStorage.setItem("key", $("key").value); connect(); };
$("language").onclick = () => {
  state.language = state.language === "en" ? "zh" : "en";
  localStorage.setItem("language", state.language);
  translate();
};
$("preset").onchange = () => {
  const preset = presets[$("preset").selectedIndex];
  $("system").value = preset.system[state.language];
  $("temperature").value = preset.temperature;
  if (state.tasks[$("model").value]?.includes(preset.task)) $("task").value = preset.task;
};
$("model").onchange = showTasks;
$("text").oninput = () => { $("text").style.height = "auto"; $("text").style.height = `${$("text").scrollHeight}px`; };
document.addEventListener("keydown", (event) => {
  if (event.isComposing) return; // a Chinese word is being chosen
  if (event.key === "Escape") state.running?.abort();
  else if (event.target === $("text") && event.key === "Enter" && !event.shiftKey) { event.preventDefault(); submit(); }
  else if (event.key === "/" && !event.target.closest("input, textarea, select")) { event.preventDefault(); $("text").focus(); }
});

$("key").value = sessionStorage.getItem("key") ?? "";
translate();
connect();

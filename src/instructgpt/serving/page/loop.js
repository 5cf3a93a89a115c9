// The loop's page: numbers from /v1/loop, drawn anew every few seconds. Text is always text.
import { rate, words } from "./loop_words.js";

const $ = (id) => document.getElementById(id);
const SVG = "http://www.w3.org/2000/svg";
const EVERY = 4000;
const state = { language: startLanguage(), seen: null, drawn: "" };

function startLanguage() {
  const asked = new URLSearchParams(location.search).get("lang") ?? localStorage.getItem("language");
  return asked in words ? asked : navigator.language.startsWith("zh") ? "zh" : "en";
}

const word = (name) => words[state.language][name];

function make(tag, text, className) {
  const element = document.createElement(tag);
  if (text !== undefined) element.textContent = text;
  if (className) element.className = className;
  return element;
}

function shape(tag, attributes, text) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  if (text !== undefined) element.textContent = text;
  return element;
}

// As wide as its place, so that its words are as large as the page's.
const width = () => Math.max(300, Math.min(640, $("loop").clientWidth - 32));

function plot(height, label) {
  return shape("svg", { viewBox: `0 0 ${width()} ${height}`, role: "img", "aria-label": label });
}

const time = (at) => at.slice(0, 16).replace("T", " ");
const LEFT = 84;

// One row per ended round: a dot with its interval, the judges' below the votes'.
function drawRounds(rounds) {
  const ended = rounds.filter((one) => one.votes || one.judges);
  if (!ended.length) return make("p", word("none"), "name");
  const height = ended.length * 46 + 46, right = width() - 12, x = (value) => LEFT + value * (right - LEFT);
  const svg = plot(height, ended.map((one) => `${word("round")(one.round)}: ${rate(one.votes ?? one.judges)}`).join("; "));
  for (const value of [0, 0.25, 0.5, 0.75, 1]) {
    svg.append(shape("line", { class: value === 0.5 ? "half" : "axis", x1: x(value), x2: x(value), y1: 8, y2: height - 34 }));
    svg.append(shape("text", { x: x(value), y: height - 18, "text-anchor": "middle" }, value));
  }
  ended.forEach((one, i) => {
    svg.append(shape("text", { class: "label", x: LEFT - 14, y: 36 + i * 46, "text-anchor": "end" }, word("round")(one.round)));
    ["votes", "judges"].forEach((source, j) => {
      if (!one[source]) return;
      const y = 32 + i * 46 + (one.votes && one.judges ? j * 14 - 7 : 0), group = shape("g", { class: j ? "other" : "" });
      group.append(shape("line", { class: "whisker", x1: x(one[source].low), x2: x(one[source].high), y1: y, y2: y }));
      group.append(shape("circle", { class: "dot", cx: x(one[source].value), cy: y, r: 6 }));
      svg.append(group);
    });
  });
  svg.append(shape("text", { x: (LEFT + right) / 2, y: height - 2, "text-anchor": "middle" }, word("rateAxis")));
  return svg;
}

// How the interval has narrowed, vote by vote.
function drawPath(comparison) {
  const top = 10, bottom = 190, paths = Object.entries(comparison.paths).filter(([, path]) => path.length);
  if (!paths.length) return make("p", word("none"), "name");
  const most = Math.max(...paths.map(([, path]) => path.at(-1).n)), right = width() - 12;
  const x = (n) => 40 + (n / most) * (right - 40), y = (v) => bottom - v * (bottom - top);
  const svg = plot(230, word("comparison"));
  for (const value of [0, 0.5, 1]) {
    svg.append(shape("line", { class: value === 0.5 ? "half" : "axis", x1: 40, x2: right, y1: y(value), y2: y(value) }));
    svg.append(shape("text", { x: 32, y: y(value) + 4, "text-anchor": "end" }, value));
  }
  for (const [source, path] of paths) {
    const group = shape("g", { class: source === "judges" ? "other" : "" });
    const edge = (key) => path.map((i) => `${x(i.n).toFixed(1)},${y(i[key]).toFixed(1)}`);
    group.append(shape("polygon", { class: "band", points: [...edge("low"), ...edge("high").reverse()].join(" ") }));
    group.append(shape("polyline", { class: "line", points: edge("value").join(" ") }));
    svg.append(group);
  }
  svg.append(shape("text", { x: 40, y: bottom + 18 }, 0), shape("text", { x: right, y: bottom + 18, "text-anchor": "end" }, most));
  svg.append(shape("text", { x: (40 + right) / 2, y: bottom + 34, "text-anchor": "middle" }, word("votesAxis")));
  return svg;
}

function fill(table, columns, rows) {
  const head = make("thead"), body = make("tbody"), top = make("tr");
  for (const column of columns) { const cell = make("th", column); cell.scope = "col"; top.append(cell); }
  head.append(top);
  for (const { cells, served } of rows) {
    const row = make("tr", undefined, served ? "served" : "");
    for (const cell of cells) row.append(make("td", cell ?? "–"));
    body.append(row);
  }
  table.replaceChildren(head, body);
}

function draw() {
  const seen = state.seen;
  document.documentElement.lang = state.language;
  for (const e of document.querySelectorAll("[data-text]")) e.textContent = word(e.dataset.text);
  $("language").textContent = state.language === "en" ? "中文" : "English";
  $("language").lang = state.language === "en" ? "zh" : "en";
  if (!seen) return;
  $("loop").hidden = false;
  $("name").textContent = seen.name;
  $("served").textContent = seen.served;
  const changed = seen.history.findLast((e) => ["begun", "promoted", "rolled_back"].includes(e.kind));
  $("since").textContent = word("since")(time(changed.at));
  const open = seen.comparison;
  $("open-words").textContent = open ? word("compared")(open, open.paths.votes.at(-1), open.paths.judges.at(-1)) : word("noComparison");
  $("open-plot").replaceChildren(...(open ? [drawPath(open)] : []));
  $("rounds-plot").replaceChildren(drawRounds(seen.rounds));
  fill($("rounds"), word("columns"), seen.rounds.map((one) => ({
    served: one.model === seen.served,
    cells: [one.round, one.rolled_back ? word("rolledBack") : word("state")[one.state], one.against, one.prompts, one.demonstrations,
      one.votes && `${rate(one.votes)} / ${one.votes.n}`, one.judges && `${rate(one.judges)} / ${one.judges.n}`, one.by] })));
  $("thumbs-part").hidden = !Object.keys(seen.thumbs).length;
  fill($("thumbs"), word("thumbColumns"), Object.entries(seen.thumbs).map(([name, share]) => ({
    served: name === seen.served, cells: [name, rate(share), share.n] })));
  $("history").replaceChildren(...seen.history.map((e) => make("li",
    `${time(e.at)} · ${word("round")(e.round)} · ${word("event")[e.kind]}${e.why ? ` (${word("why")[e.why]})` : ""} · ${e.by}`)));
  $("commands").textContent = ["status", "promote", "rollback"].map((verb) => `instructgpt loop ${verb} DIR`).join("\n");
}

async function look() {
  const key = $("key").value;
  try {
    const response = await fetch("/v1/loop", { headers: key ? { Authorization: `Bearer ${key}` } : {} });
    const body = await response.json();
    if (!response.ok) throw new Error(body.error.message);
    $("error").textContent = "";
    const text = JSON.stringify(body);
    if (text === state.drawn) return; // nothing is new: leave what somebody reads alone
    state.drawn = text;
    state.seen = body;
    draw();
  } catch (error) {
    $("error").textContent = error.message;
    $("key-form").hidden = false;
  }
}

$("key").value = sessionStorage.getItem("key") ?? "";
$("key").onchange = () => { sessionStorage.setItem("key", $("key").value); look(); };
$("key-form").onsubmit = (event) => { event.preventDefault(); look(); };
$("language").onclick = () => {
  state.language = state.language === "en" ? "zh" : "en";
  localStorage.setItem("language", state.language);
  draw();
};
draw();
look();
setInterval(look, EVERY);
window.onresize = draw;

"use strict";
// The browser of problems. All texts of others reach the page as text nodes: nothing here makes HTML of a string.

const { runs, fates } = JSON.parse(document.getElementById("data").textContent);
const CHUNK = 200; // rows of the list that are made at once
const MOST_LINES = 2_000; // of a candidate that are shown
const MOST_COMPARED = 250_000; // cells of a table of two texts that are compared word by word
const FILTERS = ["words", "run", "other", "versus", "fate", "verdict", "cut"];
const byId = Object.fromEntries([...FILTERS, "filters", "count", "list", "problem", "browser"].map((id) => [id, document.getElementById(id)]));

let shown = []; // the problems that pass the filters
let rowsMade = 0; // how many of them have a row
let current = null; // the problem in the right pane

/** An element with attributes, and children that are elements or texts. */
function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) if (value !== undefined && value !== false) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

// ---- filters

/** What is searched in a problem, made when it is first asked for. */
function haystack(problem) {
  problem.haystack ??= [problem.id, problem.question ?? "", problem.gold ?? "", ...problem.candidates.flatMap((c) => c.steps)].join("\n").toLowerCase();
  return problem.haystack;
}

function isRight(problem) {
  const chosen = Object.values(problem.chosen)[0];
  return problem.candidates.find((candidate) => candidate.id === chosen).right;
}

/** The critic of a role on the draft: "good" where it names no wrong step, "bad" where it does, "none" without score. */
function verdict(problem, role) {
  const found = (problem.candidates[0].critiques ?? []).find((critique) => critique.roles.includes(role));
  if (!found || found.unscored !== undefined) return "none";
  return found.bad === undefined ? "good" : "bad";
}

function versus(problem, other) {
  const beside = problemOf(other, problem.id);
  if (!beside) return "";
  const [one, two] = [isRight(problem), isRight(beside)];
  return one && two ? "both" : one ? "won" : two ? "lost" : "none";
}

function isCut(problem, which) {
  if (which === "draft") return Boolean(problem.candidates[0].cut);
  return problem.candidates.some((candidate) => candidate.cut) === (which === "any");
}

function problemOf(run, id) {
  run.byId ??= new Map(run.problems.map((problem) => [problem.id, problem]));
  return run.byId.get(id);
}

const run = () => runs[byId.run.value];
const other = () => (byId.other.value === "" ? null : runs[byId.other.value]);

function filter() {
  const words = byId.words.value.toLowerCase().split(/\s+/).filter(Boolean);
  const [role, wanted] = byId.verdict.value.split(" ");
  const beside = other();
  byId.versus.hidden = !beside;
  shown = run().problems.filter(
    (problem) =>
      (!byId.fate.value || problem.fate === byId.fate.value) &&
      (!role || verdict(problem, role) === wanted) &&
      (!byId.cut.value || isCut(problem, byId.cut.value)) &&
      (!beside || !byId.versus.value || versus(problem, beside) === byId.versus.value) &&
      (!words.length || words.every((word) => haystack(problem).includes(word))),
  );
  byId.count.textContent = `${shown.length.toLocaleString("en")} of ${run().problems.length.toLocaleString("en")} problems`;
  byId.list.replaceChildren();
  rowsMade = 0;
  moreRows();
}

// ---- the list

const ends = new IntersectionObserver((entries) => {
  if (entries.some((entry) => entry.isIntersecting)) moreRows();
});

function moreRows() {
  ends.disconnect();
  const rows = shown.slice(rowsMade, rowsMade + CHUNK).map((problem) => {
    const marks = (problem.candidates[0].right ? "✓" : "✗") + (isRight(problem) ? "✓" : "✗");
    const mark = element("span", { class: "mark", title: fates[problem.fate] }, marks);
    const button = element("button", { type: "button", "aria-current": problem === current && "true" }, mark, ` ${problem.id}`);
    button.addEventListener("click", () => show(problem));
    return element("li", {}, button);
  });
  byId.list.append(...rows);
  rowsMade += rows.length;
  if (rowsMade < shown.length) ends.observe(byId.list.lastElementChild);
}

function step(by) {
  const at = shown.indexOf(current);
  const next = shown[at < 0 ? 0 : at + by];
  if (next) show(next);
}

// ---- a problem

function show(problem) {
  current = problem;
  for (const button of byId.list.querySelectorAll("[aria-current]")) button.removeAttribute("aria-current");
  const at = shown.indexOf(problem);
  while (at >= rowsMade) moreRows();
  byId.list.children[at]?.firstElementChild.setAttribute("aria-current", "true");
  byId.list.children[at]?.scrollIntoView({ block: "nearest" });
  const parts = [element("h3", {}, problem.id)];
  if (problem.question !== undefined) {
    parts.push(element("p", { class: "question" }, problem.question));
    parts.push(element("details", { class: "gold", open: "" }, element("summary", {}, "Gold answer"), element("pre", {}, problem.gold)));
  }
  const sides = [run(), other()].filter(Boolean).map((each) => side(each, problemOf(each, problem.id)));
  parts.push(element("div", { class: "runs" }, ...sides));
  byId.problem.replaceChildren(...parts);
  writeAddress();
}

function side(of, problem) {
  if (!problem) return element("section", {}, element("h4", {}, of.name), element("p", {}, "This run has no such problem."));
  const tokens = problem.candidates.reduce((sum, candidate) => sum + candidate.tokens, problem.critic_tokens);
  const said = `${fates[problem.fate]} · ${tokens.toLocaleString("en")} tokens`;
  const cards = problem.candidates.map((candidate) => card(problem, candidate));
  return element("section", {}, element("h4", {}, of.name), element("p", { class: "note" }, said), element("div", { class: "candidates" }, ...cards));
}

function card(problem, candidate) {
  const chosen = Object.keys(problem.chosen).filter((selector) => problem.chosen[selector] === candidate.id);
  const outcome = candidate.right ? "right" : "wrong";
  const said = [`${candidate.tokens.toLocaleString("en")} tokens`];
  if (candidate.cut) said.push("cut off");
  if (candidate.unwritten !== undefined) said.push(`not written: ${candidate.unwritten}`);
  if (chosen.length) said.push(`chosen by ${chosen.join(", ")}`);
  const made = element("div", { class: `candidate ${outcome}` }, element("strong", {}, candidate.id), ", ", element("span", { class: "outcome" }, outcome));
  made.append(element("div", { class: "note" }, said.join(" · ")));
  for (const critique of candidate.critiques ?? []) made.append(overall(critique));
  if (candidate.thought) made.append(element("details", { class: "thought" }, element("summary", {}, `Thought, ${candidate.thought.length.toLocaleString("en")} characters`), candidate.thought));
  made.append(steps(problem, candidate));
  return made;
}

function overall(critique) {
  const name = `${critique.critic} (${critique.roles.join(", ")}): `;
  const said = critique.unscored === undefined ? [name, score(critique.score, false, `${name}the whole solution`)] : [`${name}not scored: ${critique.unscored}`];
  if (critique.unread !== undefined) said.push(`, ${critique.unread}`);
  if (critique.feedback !== undefined) said.push(element("details", { class: "feedback", open: "" }, element("summary", {}, "Feedback"), critique.feedback));
  return element("div", {}, ...said);
}

function score(value, first, title) {
  const made = element("span", { class: first ? "score first" : "score", title: title + (first ? ", the first wrong step" : "") });
  made.append((first ? "✗ " : "") + value.toFixed(2));
  made.style.setProperty("--hue", Math.round(120 * value));
  return made;
}

/** A candidate's steps with each critic's scores; of a refinement, what it changed in its parent. */
function steps(problem, candidate) {
  const parent = problem.candidates.find((each) => each.id === candidate.parent);
  const lines = parent ? changes(parent.steps, candidate.steps) : candidate.steps.map((text, at) => ({ at, kind: "same", parts: [["same", text]] }));
  const list = element("ol", { class: "steps" });
  for (const line of lines.slice(0, MOST_LINES)) {
    const text = element("span", { class: "text" });
    for (const [kind, words] of line.parts) text.append(kind === "same" ? words : element(kind === "new" ? "ins" : "del", {}, words));
    const scored = line.at === undefined ? [] : (candidate.critiques ?? []).filter((critique) => critique.steps);
    const marked = line.at !== undefined && (candidate.critiques ?? []).some((critique) => critique.bad === line.at);
    const scores = scored.map((critique) => score(critique.steps[line.at], critique.bad === line.at, `${critique.critic} (${critique.roles.join(", ")})`));
    list.append(element("li", { class: `${line.kind}${marked ? " bad" : ""}` }, text, ...scores));
  }
  if (lines.length > MOST_LINES) list.append(element("li", { class: "note" }, `and ${(lines.length - MOST_LINES).toLocaleString("en")} more lines`));
  return list;
}

// ---- differences

/** The lines of `after` in order, with lines of `before` that are gone, each as parts that are same, new or gone. */
function changes(before, after) {
  const lines = [];
  let [gone, fresh] = [[], []];
  const flush = () => {
    const pairs = Math.min(gone.length, fresh.length);
    for (let n = 0; n < Math.max(gone.length, fresh.length); n++) {
      if (n < pairs) {
        const parts = inside(before[gone[n]], after[fresh[n]]);
        if (parts.some(([kind]) => kind === "same")) {
          lines.push({ at: fresh[n], kind: "changed", parts });
          continue;
        }
      }
      if (n < gone.length) lines.push({ kind: "gone", parts: [["same", before[gone[n]]]] });
      if (n < fresh.length) lines.push({ at: fresh[n], kind: "new", parts: [["same", after[fresh[n]]]] });
    }
    [gone, fresh] = [[], []];
  };
  for (const [i, j] of matches(before, after)) {
    if (i === null) fresh.push(j);
    else if (j === null) gone.push(i);
    else {
      flush();
      lines.push({ at: j, kind: "same", parts: [["same", after[j]]] });
    }
  }
  flush();
  return lines;
}

/** What changed inside a line, word by word; numbers and signs are words of their own. */
function inside(before, after) {
  const [a, b] = [before, after].map((line) => line.match(/\d+|\p{L}+|\s+|./gu) ?? []);
  const parts = [];
  const add = (kind, word) => (parts.length && parts.at(-1)[0] === kind ? (parts.at(-1)[1] += word) : parts.push([kind, word]));
  for (const [i, j] of matches(a, b)) {
    if (i === null) add("new", b[j]);
    else if (j === null) add("gone", a[i]);
    else add("same", b[j]);
  }
  return parts.some(([kind, words]) => kind === "same" && words.trim()) ? parts : [["gone", before], ["new", after]];
}

/** Pairs of indices [i, j] of a longest common subsequence, in order; [i, null] and [null, j] are in one only. */
function matches(a, b) {
  let head = 0;
  while (head < a.length && head < b.length && a[head] === b[head]) head++;
  let tail = 0;
  while (tail < a.length - head && tail < b.length - head && a[a.length - 1 - tail] === b[b.length - 1 - tail]) tail++;
  const [m, n] = [a.length - head - tail, b.length - head - tail];
  const middle = m * n > MOST_COMPARED ? unlike(m, n) : longest(a.slice(head, head + m), b.slice(head, head + n));
  return [
    ...Array.from({ length: head }, (_, k) => [k, k]),
    ...middle.map(([i, j]) => [i === null ? null : i + head, j === null ? null : j + head]),
    ...Array.from({ length: tail }, (_, k) => [a.length - tail + k, b.length - tail + k]),
  ];
}

function unlike(m, n) {
  return [...Array.from({ length: m }, (_, i) => [i, null]), ...Array.from({ length: n }, (_, j) => [null, j])];
}

function longest(a, b) {
  const [m, n] = [a.length, b.length];
  const lengths = new Uint32Array((m + 1) * (n + 1));
  const at = (i, j) => i * (n + 1) + j;
  for (let i = m - 1; i >= 0; i--)
    for (let j = n - 1; j >= 0; j--)
      lengths[at(i, j)] = a[i] === b[j] ? lengths[at(i + 1, j + 1)] + 1 : Math.max(lengths[at(i + 1, j)], lengths[at(i, j + 1)]);
  const pairs = [];
  let [i, j] = [0, 0];
  while (i < m && j < n) {
    if (a[i] === b[j]) pairs.push([i++, j++]);
    else if (lengths[at(i + 1, j)] >= lengths[at(i, j + 1)]) pairs.push([i++, null]);
    else pairs.push([null, j++]);
  }
  while (i < m) pairs.push([i++, null]);
  while (j < n) pairs.push([null, j++]);
  return pairs;
}

// ---- the address: #problem=ID&run=NAME&beside=NAME

function writeAddress() {
  const said = new URLSearchParams({ problem: current.id });
  if (runs.length > 1) said.set("run", run().name);
  if (other()) said.set("beside", other().name);
  history.replaceState(null, "", `#${said}`);
}

function readAddress() {
  const said = new URLSearchParams(location.hash.slice(1));
  const at = (name) => runs.findIndex((each) => each.name === said.get(name));
  if (at("run") >= 0) byId.run.value = at("run");
  if (at("beside") >= 0) byId.other.value = at("beside");
  const problem = problemOf(run(), said.get("problem"));
  filter();
  if (!problem) return;
  show(problem);
  byId.browser.scrollIntoView();
}

// ---- what the user does

byId.filters.addEventListener("submit", (event) => event.preventDefault());
for (const id of FILTERS)
  byId[id].addEventListener("input", () => {
    filter();
    if (id === "run" && current) current = problemOf(run(), current.id) ?? null;
    if ((id === "run" || id === "other") && current) show(current);
  });

for (const stream of document.querySelectorAll("[data-fate]"))
  stream.addEventListener("click", () => {
    byId.run.value = stream.closest("[data-run]").dataset.run;
    byId.fate.value = stream.dataset.fate;
    filter();
    byId.browser.scrollIntoView();
  });

const KEYS = { j: () => step(1), k: () => step(-1), "/": () => byId.words.focus() };

addEventListener("keydown", (event) => {
  if (event.key === "Escape") document.activeElement.blur();
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input, select, textarea")) return;
  if (!KEYS[event.key]) return;
  event.preventDefault();
  KEYS[event.key]();
});

/** Makes what is searched before somebody searches, a little at a time. */
function prepare() {
  for (const problem of unprepared.splice(-200)) haystack(problem);
  if (unprepared.length) setTimeout(prepare);
}

const unprepared = runs.flatMap((each) => each.problems);
setTimeout(prepare, 100);
addEventListener("hashchange", readAddress);
byId.browser.hidden = false;
readAddress();

// Reads GET /v1/experiments once a second and draws the answer. Everything shown is text set on DOM nodes:
// names of policies and experiments never become markup (the page's CSP requires trusted types and allows none).

const POLL_MS = 1000;
const SHOWN_PAIRS = 8;
const SHOWN_EVENTS = 12;
const SHOWN_BUILDS = 4;
const SHOWN_SEGMENTS = 24;
const SEGMENT_PAIRS = 3;
const MANY = 8; // from this number of policies on, rows are tight and columns are numbered
const KEY = "llmpo-admin-key"; // in sessionStorage, so it is gone when the tab closes

// ---- Drawing: describe nodes, then patch the page so that transitions, focus and selection survive. ----------

const h = (tag, props, ...children) => ({ tag, props: props || {}, children: children.flat(Infinity) });
const isShown = (node) => node !== null && node !== undefined && node !== false;

function create(node) {
  if (typeof node !== "object") return document.createTextNode(String(node));
  const element = document.createElement(node.tag);
  update(element, node);
  return element;
}

function update(element, { props, children }) {
  const wanted = new Map();
  for (const [name, value] of Object.entries(props)) {
    if (name.startsWith("on")) element[name] = value;
    else if (name === "vars") for (const [key, text] of Object.entries(value)) element.style.setProperty(key, text);
    else if (isShown(value)) wanted.set(name, value === true ? "" : String(value));
  }
  for (const name of element.getAttributeNames()) if (name !== "style" && !wanted.has(name)) element.removeAttribute(name);
  for (const [name, value] of wanted) if (element.getAttribute(name) !== value) element.setAttribute(name, value);
  patch(element, children);
}

function patch(parent, nodes) {
  const shown = nodes.filter(isShown);
  shown.forEach((node, index) => {
    const present = parent.childNodes[index];
    if (!present) parent.append(create(node));
    else if (typeof node !== "object" && present.nodeType === Node.TEXT_NODE) {
      if (present.data !== String(node)) present.data = String(node);
    } else if (typeof node === "object" && present.localName === node.tag) update(present, node);
    else present.replaceWith(create(node));
  });
  while (parent.childNodes.length > shown.length) parent.lastChild.remove();
}

// ---- Words for numbers ------------------------------------------------------------------------------------

const percent = (share, digits = 0) => `${(100 * share).toFixed(digits)} %`;
const trim = (number) => String(Number(number.toFixed(2)));
const nats = (number) => `${(Math.round(100 * number) / 100 || 0).toFixed(2).replace("-", "−")} nats`;
const round = (count) => (count < 20 ? Math.ceil(count) : Math.ceil(count / 10) * 10);
const plural = (count, word) => `${count.toLocaleString("en")} ${word}${count === 1 ? "" : "s"}`;

function duration(seconds) {
  if (seconds < 90) return `${Math.max(1, Math.round(seconds))} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  if (seconds < 172800) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86400)} days`;
}

const STATES = JSON.parse(document.body.dataset.states); // policy_store/states.py, written into the page
const standing = (state) => STATES[state] || { label: state.replaceAll("_", " "), tone: "", sentence: "", is_planned: false };
const CLOCK = new Intl.DateTimeFormat([], { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
const chip = (state) => h("span", { class: `chip ${standing(state).tone}` }, standing(state).label);
const isMany = ({ policies }) => policies.length >= MANY;
const name = (policy) => h("strong", null, policy);
const points = (experiment) => `${trim(100 * experiment.epsilon)} points in 100`;
const confidence = (experiment) => percent(1 - experiment.delta, experiment.delta < 0.01 ? 2 : 0);

// ---- The present state, in one or two sentences -----------------------------------------------------------

function banner(experiment) {
  const { sentence: usual, sentence_if_named: ifNamed } = standing(experiment.state);
  const isNamed = ifNamed && experiment.certificate && experiment.certificate.champion_name === experiment.incumbent;
  const sentence = isNamed ? ifNamed : usual;
  if (!sentence) return running(experiment);
  const { comparisons } = experiment.certificate || experiment; // a few more may be counted during the decision
  const words = { "{incumbent}": name(experiment.incumbent), "{counted}": plural(comparisons, "comparison") };
  if (experiment.certificate) words["{champion}"] = name(experiment.certificate.champion_name);
  return sentence.split(/({\w+})/).map((part) => words[part] || part);
}

// Who made the move to the present state, and why.
function byHand({ by_hand: move }) {
  if (!move) return null;
  const { actor, reason } = move.detail;
  return h("p", { class: "by-hand" }, h("b", null, actor), `, ${new Date(1000 * move.at).toLocaleString()}: ${reason}`);
}

function running(experiment) {
  const { incumbent, leader, comparisons, plan } = experiment;
  const serving = [name(incumbent), " answers ordinary traffic"];
  if (!comparisons || !leader || !plan) return ["Waiting for the first preferences. ", ...serving, "."];
  const missing = experiment.min_comparisons - comparisons;
  const outlook = forecast(experiment);
  const ahead = [name(leader), leader === incumbent ? ", which serves now, is ahead. " : " is ahead. "];
  if (!outlook && missing > 0) return [...ahead, `A decision needs at least ${plural(missing, "more comparison")}.`];
  if (!outlook) return [...ahead, "The evidence does not yet say how long this takes. ", ...serving, "."];
  const wait = outlook.seconds ? `, ${duration(outlook.seconds)} at this rate` : "";
  return [...ahead, `About ${plural(outlook.needed, "more comparison")} to a decision${wait}. Until then `, ...serving, "."];
}

// Where a promotion step by step stands.
function staged({ stage }) {
  if (!stage) return null;
  const ends = { approval: "a person approves", time: `${duration(stage.seconds_left || 0)} more`, comparisons: plural(stage.comparisons_left || 0, "more comparison") };
  return h("p", { class: "note" }, `Step ${stage.step} of ${stage.shares.length}: `, name(stage.policy), ` answers ${percent(stage.shares[stage.step - 1], 1)} of ordinary traffic, until ${ends[stage.waits_for]}.`);
}

// Where the comparisons of a watch came from, if from more than one source.
function sourced({ comparisons_by_source: counted }) {
  const sources = Object.entries(counted);
  return sources.length > 1 ? ` (${sources.map(([source, count]) => `${source} ${count.toLocaleString("en")}`).join(", ")})` : "";
}

// How the watch over the promotion stands.
function watched({ watch }) {
  if (!watch) return null;
  const left = watch.seconds_left === null ? null : duration(watch.seconds_left);
  const more = watch.comparisons_left === null ? null : plural(watch.comparisons_left, "more comparison");
  const ends = [left && `in ${left}`, more && `after ${more}`].filter(Boolean).join(" or ");
  return h("p", { class: "note" }, watch.is_open ? "Watched: " : "Was watched: ", name(watch.champion),
    ` was preferred ${watch.wins.toLocaleString("en")} times and ${watch.previous} ${watch.losses.toLocaleString("en")} times in ${plural(watch.comparisons, "comparison")}${sourced(watch)}. `,
    `Evidence that it is worse: ${nats(watch.nats)} of ${nats(watch.needed)}.`, ends && ` The watch ends ${ends}.`);
}

// What the judge said and cost, and whether users prefer the same policies.
function judged({ judge }) {
  if (!judge) return null;
  const says = { agree: "they agree", disagree: "they disagree", open: "too few to say" };
  const doubts = judge.first_shown + judge.second_shown + judge.disagreed;
  return h("div", { class: "note" },
    h("p", null, `The judge ${judge.model} compared ${plural(judge.compared, "pair")} of answers; `, judge.role === "evidence" ? "its verdicts are evidence. " : "its verdicts only inform forecasts. ",
      judge.asked ? `It preferred one in both orders in ${percent(judge.decisive_share)}, contradicted itself in ${doubts.toLocaleString("en")} (position bias ${percent(judge.position_bias)}), and was unreadable in ${judge.unreadable.toLocaleString("en")}. ` : null,
      `It cost ${money(judge.usd, "measured")}, ${Number(judge.usd_today.toPrecision(3))} of ${judge.spend_per_day} USD today.`),
    judge.pairs.map(({ pair, users, judge: model, verdict }) => h("p", null, name(pair[0]), " over ", name(pair[1]),
      `: users ${users.wins} of ${users.wins + users.losses}, the judge ${model.wins} of ${model.wins + model.losses} (${says[verdict]}).`)));
}

// What guardrails say of each policy, the ones nearest to their line first.
function guardrails({ guardrails: found }) {
  if (!found.length) return null;
  const number = (value) => (value === null ? "–" : String(Number(value.toPrecision(3))));
  const unmeasured = ({ unpriced }) => unpriced?.length && `not measured: no price for ${unpriced.join(", ")}`;
  const done = (row) => [row.finding.replaceAll("_", " "), row.did && row.did.replaceAll("_", " "), unmeasured(row)].filter(Boolean).join(", ");
  const nearest = [...found].sort((a, b) => b.nats / b.needed - a.nats / a.needed);
  const columns = ["Guardrail", "Policy", "Finding", "Number", "Usual", "Pairs", "Evidence", "Line"];
  return h("section", null, h("h2", null, "Guardrails"),
    h("p", { class: "note" }, "Mean numbers of a policy's answers beside those of the policy it is compared with. At the line the policy is worse by more than the file allows, and what the file says happens."),
    h("div", { class: "scroll" }, h("table", { class: "matrix guardrails" },
      h("thead", null, h("tr", null, columns.map((column) => h("th", { scope: "col" }, column)))),
      h("tbody", null, nearest.map((row) => h("tr", null, h("th", { scope: "row" }, row.guardrail), h("td", null, row.policy),
        h("td", { class: row.finding === "worse" || row.did ? "loss deep" : null }, done(row)), h("td", null, number(row.number)), h("td", null, number(row.usual)),
        h("td", null, row.pairs.toLocaleString("en")), h("td", null, nats(row.nats)), h("td", null, nats(row.needed))))))));
}

// Where comparisons come from; what only informs forecasts, whether it agrees with people, and what it is worth.
function cameFrom({ comparisons_by_source: counted, inherited, sources, builds }) {
  const evidence = Object.entries(counted).map(([source, count]) => [source, "evidence", count]);
  if (inherited) evidence.push([`generation ${inherited.generation}`, "evidence", inherited.comparisons]);
  if (!evidence.length && !sources.length) return null;
  const agrees = ({ pairs, agreed, low, high }) => pairs ? `${agreed} of ${plural(pairs, "pair")} (${percent(low)} to ${percent(high)})` : "–";
  const informing = sources.map((source) => [source.name, "informs", source.comparisons, agrees(source),
    source.used === null ? "–" : source.used.toFixed(2), source.gained_nats === null ? "–" : nats(source.gained_nats)]);
  const columns = ["Source", "Counts as", "Comparisons", ...(sources.length ? ["Agrees with people", "Believed", "Gained"] : [])];
  const note = sources.length ? "What only informs is no evidence: forecasts use it as far as it predicted people so far. Gained is how much of the evidence is due to that; below 0, it misled." : "What users said or did in the comparisons counted.";
  return h("section", null, h("h2", null, "Where comparisons come from"), h("p", { class: "note" }, note),
    h("div", { class: "scroll" }, h("table", { class: "matrix" },
      h("thead", null, h("tr", null, columns.map((column) => h("th", { scope: "col" }, column)))),
      h("tbody", null, [...evidence, ...informing].map(([source, kind, count, ...worth]) => h("tr", null, h("th", { scope: "row" }, source), h("td", null, kind), h("td", null, count.toLocaleString("en")),
        columns.slice(3).map((_, index) => h("td", null, worth[index] || ""))))))),
    builds.filter(({ different }) => different > 1).map(served));
}

// The builds of its model that served a policy, if there are several.
const served = ({ policy, different, by_build: counts }) => h("p", { class: "note" }, name(policy), ` was served by ${plural(different, "build")} of its model: `,
  Object.entries(counts).sort(([, a], [, b]) => b - a).slice(0, SHOWN_BUILDS).map(([build, count]) => `${build} in ${plural(count, "comparison")}`).join(", "), ".");

// Who is preferred in each segment, for the pairs compared most.
function segments({ segments: found }) {
  if (!found || !found.length) return null;
  const shown = found.slice(0, SHOWN_SEGMENTS);
  const segment = ({ path, value }) => h("th", { scope: "row", title: `${path} ${value}` }, value, h("small", null, path));
  const rows = shown.flatMap((each) => each.pairs.slice(0, SEGMENT_PAIRS).map((pair, index) => h("tr", null,
    index ? h("th", null) : segment(each), h("td", null, index ? "" : each.comparisons.toLocaleString("en")),
    h("td", null, `${pair.policy} over ${pair.rival}`), h("td", null, pair.win_rate === null ? "–" : percent(pair.win_rate), h("small", null, `${pair.wins}–${pair.losses}`)),
    h("td", null, `${percent(pair.low)} to ${percent(pair.high)}`), h("td", null, pair.prefers ? name(pair.prefers) : "too few to say"))));
  const columns = ["Segment", "Comparisons", "Pair", "Preferred", "95 % interval", "Prefers"];
  const more = found.length - shown.length;
  return h("section", null, h("h2", null, "Who is preferred by segment"),
    h("p", { class: "note" }, "For your information: the decision is about all traffic together, and nothing is promised of a segment. Of many intervals, one in twenty misses by chance."),
    h("div", { class: "scroll" }, h("table", { class: "matrix" },
      h("thead", null, h("tr", null, columns.map((column) => h("th", { scope: "col" }, column)))),
      h("tbody", null, rows))),
    more > 0 && h("p", { class: "note" }, `${plural(more, "more segment")} in the answer of the API.`));
}

// How often the answers of each policy are reported, beside those that it is compared with.
function reported({ reporting: rows }) {
  if (!rows || !rows.length) return null;
  const often = ({ times, low, high }) => times === null ? "only these" : `${times.toFixed(2)} (${low.toFixed(2)} to ${high === null ? "∞" : high.toFixed(2)})`;
  const columns = ["Policy", "Reports", "If all came alike", "Times as often"];
  return h("section", null, h("h2", null, "How often answers are reported"),
    h("p", { class: "note" }, "Beside the answers of the policies that each is compared with, with a 95 % interval. If users of one policy say less, its outcomes may not stand for all of its answers."),
    h("div", { class: "scroll" }, h("table", { class: "matrix" },
      h("thead", null, h("tr", null, columns.map((column) => h("th", { scope: "col" }, column)))),
      h("tbody", null, rows.map((row) => h("tr", null, h("th", { scope: "row" }, row.policy), h("td", null, row.reported.toLocaleString("en")),
        h("td", null, Math.round(row.expected).toLocaleString("en")), h("td", null, often(row))))))));
}

// What the gateway finds in conversations, and whether users' ratings of the same answers say the same.
function found({ signals }) {
  return signals.map((each) => h("p", { class: "note" }, "Found in conversations: ", name(each.signal),
    ` (weight ${each.weight}). `,
    each.rated ? `Users rated ${plural(each.rated, "such answer")}, ${percent(each.agreed / each.rated)} of them ${each.weight > 0 ? "good" : "bad"} (95 % interval ${percent(each.low)} to ${percent(each.high)}); by chance it would be ${percent(each.chance)}.` : "Users rated no such answer yet."));
}

// The missing comparisons and seconds from the gateway, which takes minima and the budget into account.
function forecast({ plan }) {
  if (!plan || plan.expected_remaining === null) return null;
  return { needed: round(plan.expected_remaining), seconds: plan.expected_seconds };
}

// ---- The parts of the sheet -------------------------------------------------------------------------------

function head(experiment) {
  const mode = experiment.collect.replaceAll("_", " ");
  const terms = [`error level ${percent(experiment.delta, experiment.delta < 0.01 ? 2 : 0)}`];
  terms.push(experiment.epsilon ? `margin ${points(experiment)}` : "no margin", mode, `generation ${experiment.generation}`);
  return [
    h("div", { class: "head" }, h("h1", null, experiment.name), chip(experiment.state)),
    h("p", { class: "terms" }, terms.join(" · ")),
    h("p", { class: "banner", role: "status" }, banner(experiment)),
    byHand(experiment),
    h("div", { class: "hand" }, experiment.may.map((verb) => h("button", { type: "button", onclick: () => askWhy(experiment, verb) }, label(verb)))),
    gained(experiment),
    staged(experiment),
    watched(experiment),
    judged(experiment),
    ...found(experiment),
    ...experiment.warnings.map((warning) => h("p", { class: "note" }, warning)),
  ];
}

function figures(experiment) {
  const { state, certificate, inherited } = experiment;
  const isRunning = standing(state).is_planned && !certificate;
  const ties = upper(experiment.ties).reduce((sum, [, , count]) => sum + count, 0);
  const outlook = forecast(experiment);
  const seconds = isRunning ? outlook && outlook.seconds : certificate && certificate.decided_at - experiment.started_at;
  const figure = (label, value, unit) => h("div", null, h("dt", null, label), h("dd", { title: value }, value, unit && h("small", null, ` ${unit}`)));
  return h("dl", { class: "figures" },
    figure("Comparisons counted", experiment.comparisons.toLocaleString("en"), [ties && plural(ties, "tie"), experiment.reports_held && `${experiment.reports_held.toLocaleString("en")} held`, inherited && `${inherited.comparisons.toLocaleString("en")} inherited`].filter(Boolean).join(", ")),
    isRunning ? figure("Expected remaining", outlook ? `≈ ${outlook.needed.toLocaleString("en")}` : "–", "") : figure("Confidence asked for", confidence(experiment), ""),
    figure(isRunning ? "Time to decision" : "Decided after", seconds ? (isRunning ? `≈ ${duration(seconds)}` : duration(seconds)) : "–", ""),
    figure(isRunning ? "Serving now" : "Serving", experiment.incumbent, ""));
}

function evidence(experiment) {
  const eliminates = !experiment.epsilon;
  const next = experiment.promotion_mode === "approval" ? "awaits approval" : "is promoted";
  const note = eliminates
    ? `A full bar means eliminated: some rival is preferred to this policy. When all bars but one are full, the remaining policy ${next}; it is the best with ${confidence(experiment)} confidence.`
    : `A full bar means certified: with ${confidence(experiment)} confidence, ${experiment.claim.replace("{policy}", "this policy")}. The first policy to reach the line ${next}.`;
  const { needed } = experiment.evidence[0];
  return h("section", null,
    h("h2", null, eliminates ? "Evidence against each policy" : "Evidence for each policy"),
    h("p", { class: "note" }, note),
    h("div", { class: `evidence ${eliminates ? "against" : ""} ${isMany(experiment) ? "dense" : ""}` },
      h("div", { class: "rule", "aria-hidden": "true" }, h("i", null, h("span", null, needed === null ? "the line" : `the line: ${nats(needed)}`))),
      h("ol", null, experiment.evidence.map((row, index) => evidenceRow(experiment, row, index, eliminates)))));
}

function evidenceRow(experiment, { nats: gathered, needed }, index, eliminates) {
  const policy = experiment.policies[index];
  const reached = needed ? Math.max(0, Math.min(1, gathered / needed)) : 0; // no line before the first plan
  const isFull = reached >= 1;
  const roles = [];
  if (policy === experiment.incumbent) roles.push("serving");
  if (experiment.certificate && policy === experiment.certificate.champion_name) roles.push("champion");
  if (standing(experiment.state).is_planned && policy === experiment.leader) roles.push("ahead");
  if (isFull && !roles.includes("champion")) roles.push(eliminates ? "eliminated" : "certified");
  const classes = [isFull && (eliminates ? "is-out" : "is-full"), policy === experiment.leader && "is-ahead"];
  const label = `${policy}: ${percent(reached)} of the evidence needed`;
  return h("li", { class: classes.filter(Boolean).join(" ") },
    h("div", { class: "who" }, h("b", { title: policy }, policy), h("span", null, roles.join(", ") || (isMany(experiment) ? "" : "candidate"))),
    h("div", { class: "bar", role: "img", "aria-label": label }, h("i", { vars: { "--fill": percent(reached, 1).replace(" ", "") } })),
    h("div", { class: "much" }, h("b", null, percent(reached)), h("span", null, nats(gathered))));
}

function matrix({ policies, wins, ties }) {
  const isNumbered = policies.length >= MANY;
  const column = (policy, index) => h("th", { scope: "col", title: policy }, isNumbered ? index + 1 : policy);
  const row = (policy, index) => h("th", { scope: "row", title: policy }, isNumbered && h("i", null, index + 1), policy);
  return h("section", null,
    h("h2", null, "Who is preferred to whom"),
    h("p", { class: "note" }, `Share of decisive comparisons the row won against the column${isNumbered ? " (point at a cell for the counts)" : ", and wins–losses"}; paler where few were counted.`),
    h("div", { class: "scroll" }, h("table", { class: isNumbered ? "matrix dense" : "matrix" },
      h("thead", null, h("tr", null, h("td", { class: "self" }), policies.map(column))),
      h("tbody", null, policies.map((policy, i) => h("tr", null, row(policy, i),
        policies.map((rival, j) => cell(policy, rival, wins[i][j], wins[j][i], ties[i][j], i === j))))))));
}

function cell(policy, rival, won, lost, tied, isSelf) {
  if (isSelf) return h("td", { class: "self" });
  const count = won + lost;
  if (!count) return h("td", { title: `${policy} and ${rival}: ${plural(tied, "tie")}` }, "–");
  const share = won / count;
  const tint = Math.abs(2 * share - 1) * Math.sqrt(count / (count + 12)) * 100;
  const classes = [share >= 0.5 ? "win" : "loss", tint > 30 && "deep"];
  const title = `${policy} was preferred to ${rival} ${won} times, the reverse ${lost} times, ${plural(tied, "tie")}`;
  return h("td", { class: classes.filter(Boolean).join(" "), title, vars: { "--tint": `${(0.85 * tint).toFixed(1)}%` } },
    percent(share), h("small", null, `${won}–${lost}`));
}

function allocation(experiment) {
  const isRunning = standing(experiment.state).is_planned && experiment.plan;
  const shares = isRunning ? planned(experiment) : counted(experiment);
  const shown = shares.slice(0, SHOWN_PAIRS);
  const rest = shares.slice(SHOWN_PAIRS).reduce((sum, [, , share]) => sum + share, 0);
  const note = isRunning ? "The pairs that the next comparisons go to: those that give the most evidence." : "The pairs that the comparisons went to.";
  return h("section", null,
    h("h2", null, isRunning ? "Where comparisons go" : "Where comparisons went"),
    h("p", { class: "note" }, shares.length ? note : "No pair was compared yet."),
    h("ol", { class: "pairs" },
      shown.map(([first, second, share]) => pairRow([first, h("em", null, " vs "), second], `${first} vs ${second}`, share)),
      rest > 0 && pairRow(plural(shares.length - SHOWN_PAIRS, "other pair"), null, rest)));
}

const pairRow = (names, title, share) => h("li", null,
  h("span", { class: "names", title }, names), h("span", null, percent(share)),
  h("div", { class: "thin" }, h("i", { vars: { "--fill": `${(100 * share).toFixed(1)}%` } })));

const planned = ({ plan }) => sorted(plan.pairs.map(([first, second], index) => [first, second, plan.probabilities[index]]));

function counted({ policies, wins, ties, comparisons }) {
  return sorted(upper(ties).map(([row, column, tied]) =>
    [policies[row], policies[column], (wins[row][column] + wins[column][row] + tied) / Math.max(1, comparisons)]));
}

const sorted = (shares) => shares.filter(([, , share]) => share >= 0.005).sort((a, b) => b[2] - a[2]);
const upper = (square) => square.flatMap((line, row) => line.map((value, column) => [row, column, value]).slice(row + 1));

// The gain over the incumbent and what answers cost; certificates of early versions say neither.
function gainFacts({ policies: names }, { gain, answer_costs: costs, champion, incumbent }, fact) {
  const cost = (index) => costs && costs.per_answer[index] ? money(costs.per_answer[index], costs.source) : null;
  return [
    gain && fact(`Preferred to ${gain.incumbent}`, preferred(gain)),
    champion !== null && champion !== undefined && fact(`Cost of an answer, ${names[champion]}`, cost(champion)),
    champion !== incumbent && fact(`Cost of an answer, ${names[incumbent]}`, cost(incumbent))];
}

const money = (cost, source) => `${Number(cost.toPrecision(3))}${source === "measured" ? " USD" : ""}`;
const preferred = ({ preference, low, high }) => preference === null ? null : `${percent(preference)} (${percent(low)} to ${percent(high)})`;

function gained(experiment) {
  const { gain, answer_costs: costs } = experiment;
  const cost = (policy) => { const row = costs.policies.find((each) => each.policy === policy); return row && row.per_answer ? money(row.per_answer, costs.source) : "not known"; };
  if (!gain || experiment.certificate || gain.preference === null) return null;
  return h("p", { class: "note" }, name(gain.policy), ` is preferred to ${gain.incumbent} in ${percent(gain.preference)} so far, between ${percent(gain.low)} and ${percent(gain.high)} with ${percent(gain.confidence)} confidence. An answer costs ${cost(gain.policy)}, one of ${gain.incumbent} ${cost(gain.incumbent)}.`);
}

function policies(experiment) {
  const facts = ({ model, params }) => [model.model, ...Object.entries(params).map(([key, value]) => `${key} ${typeof value === "object" ? JSON.stringify(value) : value}`)].join(" · ");
  const row = ({ name: policy, fingerprint, content }) => h("li", null,
    h("div", { class: "who" }, h("b", { title: policy }, policy), h("span", { title: fingerprint }, fingerprint.slice(0, 12))),
    content ? h("div", { class: "what" }, h("p", null, facts(content)), prompt(content)) : h("div", { class: "what" }, h("p", null, "not shown")));
  return h("section", null, h("h2", null, "What the policies are"),
    h("p", { class: "note" }, "Model, parameters and prompt decide the fingerprint; changing any of them makes a new policy."),
    h("ol", { class: "policies" }, experiment.policy_details.map(row)));
}

function prompt({ system, template }) {
  const text = system || template;
  return text ? h("details", null, h("summary", null, template ? "Prompt template" : "Prompt"), h("pre", null, text)) : null;
}

// The look at the end of the budget: how it lowered the line, and whether that decided.
const lastLook = ({ last_look: look }) => look && `${look.decided ? "decided by it" : "not enough"} (u = ${Number(look.uniform.toPrecision(3))})`;

function certificate(experiment) {
  const proof = experiment.certificate;
  if (!proof) return null;
  const isWon = Boolean(proof.champion_name);
  const isByHand = proof.outcome === "by_hand";
  const command = `llmpo verify ${shellWord(experiment.name)} --url ${location.origin}`;
  const fact = (label, value) => isShown(value) && h("div", null, h("dt", null, label), h("dd", null, value));
  const reached = proof.statistic_nats === null ? null : `${proof.statistic_nats.toFixed(3)} ≥ ${proof.threshold_nats.toFixed(3)} nats`;
  return h("section", { class: `certificate ${isWon && !isByHand ? "" : "amber"}` },
    h("h2", null, isByHand ? "A person's choice" : isWon ? "Certificate" : "Outcome"),
    h("p", { class: "claim" }, claim(experiment, proof)),
    h("dl", { class: "facts" },
      isWon && fact("Champion", proof.champion_name),
      fact("Evidence and the line", reached),
      fact("Last look", lastLook(proof)),
      ...gainFacts(experiment, proof, fact),
      fact("Error level (delta)", trim(proof.delta)), fact("Margin (epsilon)", trim(proof.epsilon)), fact("Promise", experiment.promise.replaceAll("_", " ")),
      fact("Comparisons", proof.comparisons.toLocaleString("en")), fact("Guarantee", proof.guarantee),
      ...integrityFacts(proof.integrity, fact),
      fact("Decided", new Date(1000 * proof.decided_at).toLocaleString()), fact("Version", proof.code_version)),
    h("p", { class: "note" }, "Anyone with the comparison log can recompute this, offline",
      sessionStorage.getItem(KEY) && [" (with an admin key in ", h("code", null, "LLMPO_API_KEY"), ")"], ":"),
    h("div", { class: "command" }, h("code", null, command), h("button", { type: "button", onclick: (event) => copy(event.currentTarget, command) }, "Copy")));
}

// What the votes rest on; certificates of early versions do not say.
function integrityFacts(integrity, fact) {
  if (!integrity) return [];
  const least = integrity.would_have_to_go && integrity.would_have_to_go.even;
  const rests = least && isShown(least.voters) && `${plural(least.comparisons, "comparison")}, or ${plural(least.voters, "voter")}`;
  return [
    rests && fact("Its lead would be gone without", rests),
    integrity.anonymous_votes > 0 && fact("Anonymous votes", integrity.anonymous_votes.toLocaleString("en")),
    integrity.voter_cap > 1 && fact("Votes per voter and pair", `up to ${integrity.voter_cap}: not independent`),
    isShown(integrity.voter_cap_per_experiment) && fact("Votes per voter", votesPerVoter(integrity)),
  ].filter(Boolean);
}

function votesPerVoter(integrity) {
  const cap = integrity.voter_cap_per_experiment;
  if (cap > 1) return `up to ${cap} in the experiment: not independent`;
  const uncapped = integrity.uncapped_votes;
  return uncapped ? `1 in the experiment, except for ${plural(uncapped, "vote")} that named no user` : "1 in the experiment";
}

function claim(experiment, proof) {
  if (proof.outcome === "by_hand") return [name(proof.decided_by), " chose ", name(proof.champion_name), `: ${proof.reason}. The record claims nothing about the evidence.`];
  const sure = `With ${confidence(proof)} confidence`;
  if (isShown(proof.champion_name)) return [`${sure}, `, ...experiment.claim.split(/({policy})/).map((part) => (part === "{policy}" ? name(proof.champion_name) : part)), "."];
  if (proof.outcome === "no_winner") return [`${sure}, every policy is beaten by another one: preferences run in a circle.`];
  return ["The evidence stayed below the line until the budget of comparisons was spent."];
}

const shellWord = (text) => (/^[\w.-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`);

async function copy(button, text) {
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = "Copied";
  } catch {
    getSelection().selectAllChildren(button.previousElementSibling); // there is no clipboard outside https and localhost
    button.textContent = "Selected";
  }
}

function events(experiment) {
  const latest = experiment.events.slice(-SHOWN_EVENTS).reverse();
  return h("section", null, h("h2", null, "Events"),
    h("ol", { class: "events" }, latest.map(({ at, kind, detail }) => {
      const when = new Date(1000 * at);
      const facts = Object.entries(detail || {}).filter(([key, value]) => !["fence", "pairs", "contrast"].includes(key) && isShown(value)).map(([key, value]) => `${key.replaceAll("_", " ")} ${typeof value === "object" ? JSON.stringify(value) : value}`);
      return h("li", null, h("time", { datetime: when.toISOString(), title: when.toLocaleString() }, CLOCK.format(when)),
        h("span", null, [kind.replaceAll("_", " "), ...facts].join(" · ")));
    })));
}

// ---- Moves by hand: the button names the move, the dialog asks for the reason ------------------------------------------

const VERBS = JSON.parse(document.body.dataset.verbs); // gateway/experiments/verbs.py, written into the page
const label = (verb) => ({ rollback: "Roll back" })[verb] || verb[0].toUpperCase() + verb.slice(1);

function askWhy(experiment, verb) {
  const dialog = place("hand");
  const worse = [...new Set(experiment.guardrails.filter(({ did }) => did).map(({ policy }) => policy))];
  const others = verb === "readmit" && worse.length ? worse : experiment.policies.filter((policy) => policy !== experiment.incumbent);
  const awaiting = experiment.certificate && experiment.certificate.champion_name;
  const isAboutOne = verb === "approve" || verb === "reject";
  dialog.replaceChildren();
  patch(dialog, [h("form", { onsubmit: (event) => moveByHand(event, experiment, verb, isAboutOne ? awaiting : null) },
    h("h2", { id: "hand-title" }, `${label(verb)} ${experiment.name}`, isAboutOne && `: ${awaiting}`),
    h("p", { class: "note" }, VERBS[verb]),
    (verb === "promote" || verb === "readmit") && h("label", null, "Policy", h("select", { name: "policy" }, others.map((policy) => h("option", { value: policy }, policy)))),
    h("label", null, "Reason, for the audit log", h("textarea", { name: "reason", rows: 3, required: true, maxlength: 1000 })),
    h("p", { class: "refusal", role: "alert" }),
    h("div", { class: "answer" }, h("button", { type: "button", onclick: () => dialog.close() }, "Cancel"), h("button", { class: "do" }, label(verb))))]);
  dialog.showModal();
  dialog.querySelector("textarea").focus();
}

async function moveByHand(event, experiment, verb, seen) {
  event.preventDefault();
  const said = new FormData(event.target);
  const policy = said.get("policy") || seen;
  const body = { reason: said.get("reason"), ...(policy ? { policy } : {}) };
  try {
    await ask(`v1/experiments/${encodeURIComponent(experiment.name)}/${verb}`, { method: "POST", body: JSON.stringify(body) });
    place("hand").close();
    poll();
  } catch (error) {
    place("hand").querySelector(".refusal").textContent = error.message;
  }
}

// ---- The page ---------------------------------------------------------------------------------------------

const place = (id) => document.getElementById(id);
const chosen = () => decodeURIComponent(location.hash.slice(1));

function drawRail(list, current) {
  patch(place("experiments"), [h("h2", null, "Experiments"), ...list.map((experiment) =>
    h("a", { class: "pick", href: `#${encodeURIComponent(experiment.name)}`, "aria-current": experiment.name === current ? "page" : null },
      h("b", { title: experiment.name }, experiment.name),
      h("span", null, standing(experiment.state).label, " · ", plural(experiment.comparisons, "comparison")),
      h("span", null, "serving ", experiment.incumbent)))]);
}

function drawSheet(experiment) {
  document.title = `${experiment.name}: ${standing(experiment.state).label} · llmpo`;
  patch(place("experiment"), [
    h("div", null, head(experiment)), h("div", null, certificate(experiment)), figures(experiment), evidence(experiment),
    h("div", { class: isMany(experiment) ? "stack" : "pair" }, matrix(experiment), allocation(experiment)), cameFrom(experiment), segments(experiment), reported(experiment), guardrails(experiment), policies(experiment), events(experiment)]);
}

function drawEmpty() {
  patch(place("experiment"), [h("p", { class: "banner" }, "No experiment is configured. Add one under "), h("code", null, "experiments:"), h("p", { class: "note" }, "in the gateway's file; it appears here.")]);
}

function askForKey(isRefused) {
  if (document.querySelector(".key")) return;
  patch(place("experiments"), []);
  patch(place("experiment"), [h("form", { class: "key", onsubmit: useKey },
    h("h1", { class: "banner" }, isRefused ? "That key was refused. " : "", "This console needs an admin key."),
    h("p", { class: "note" }, "It is kept in this tab only and sent to this gateway only."),
    h("div", null, h("input", { type: "password", name: "key", autocomplete: "off", "aria-label": "Admin key", required: true }), h("button", null, "Open")))]);
}

function useKey(event) {
  event.preventDefault();
  sessionStorage.setItem(KEY, new FormData(event.target).get("key").trim());
  patch(place("experiment"), []);
  poll();
}

function say(state, text) {
  place("link").dataset.state = state;
  if (place("link").textContent !== text) place("link").textContent = text;
}

class Refused extends Error {}

async function ask(path, options) {
  const key = sessionStorage.getItem(KEY);
  const headers = { ...(key ? { Authorization: `Bearer ${key}` } : {}), ...(options.body ? { "Content-Type": "application/json" } : {}) };
  const response = await fetch(path, { ...options, headers, cache: "no-store" });
  if (response.status === 401 || response.status === 403) throw new Refused("The key was refused.");
  if (!response.ok) throw new Error(await refusal(response));
  return response.json();
}

async function refusal(response) {
  try {
    return (await response.json()).error.message;
  } catch {
    return `the gateway answered ${response.status}`;
  }
}

const read = (path) => ask(path, {});

async function refresh() {
  const { data } = await read("v1/experiments");
  const current = data.some((experiment) => experiment.name === chosen()) ? chosen() : data.length ? data[0].name : null;
  drawRail(data, current);
  if (current) drawSheet(await read(`v1/experiments/${encodeURIComponent(current)}`));
  else drawEmpty();
}

let timer = 0;
let turn = 0; // only the latest poll schedules the next one

async function poll() {
  const mine = ++turn;
  clearTimeout(timer);
  try {
    await refresh();
    say("live", "live");
  } catch (error) {
    if (error instanceof Refused) {
      say("idle", "locked");
      const isRefused = sessionStorage.getItem(KEY) !== null;
      sessionStorage.removeItem(KEY);
      askForKey(isRefused);
      return; // nothing to poll for until there is a key
    }
    say("lost", `no answer, trying again (${error.message})`);
  }
  if (!document.hidden && mine === turn) timer = setTimeout(poll, POLL_MS);
}

document.addEventListener("visibilitychange", () => { if (!document.hidden) poll(); });
addEventListener("hashchange", poll);
poll();

// Colours for code, as spans of text. Long texts are cut before they cost anything.

import { h } from "./dom.js";

const JSON_TOKEN = /("(?:[^"\\]|\\.)*")(\s*:)?|\b(true|false|null)\b|(-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)/g;
const CODE_TOKEN =
  /((?<!\S)#[^\n]*|(?<!\S)\/\/[^\n]*)|("(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|`[^`\n]*`)|\b(from|import|def|async|await|return|try|except|raise|if|elif|else|while|for|in|and|or|not|const|let|var|new|function|throw|catch|export|package|func|struct|range|printf|curl|openssl)\b/g;
const MAX_COLOURED = 60_000;
const TAB = 4;

/** Nodes of a JSON text: keys, strings, numbers and words each in a class of their own. */
export function json(text) {
  return tokens(text, JSON_TOKEN, (match) => {
    if (match[1] !== undefined) {
      const key = match[2] !== undefined;
      return [h("span", { class: key ? "t-key" : "t-string" }, match[1]), match[2] ?? ""];
    }
    return [h("span", { class: match[3] === undefined ? "t-number" : "t-word" }, match[0])];
  });
}

/** Nodes of a few lines of Python, JavaScript or shell. */
export function code(text) {
  return tokens(text, CODE_TOKEN, (match) => {
    const name = match[1] !== undefined ? "t-comment" : match[2] !== undefined ? "t-string" : "t-word";
    return [h("span", { class: name }, match[0])];
  });
}

function tokens(text, pattern, make) {
  if (text.length > MAX_COLOURED) return [text];
  return text.split("\n").flatMap((line, index) => {
    const shown = line.trim() ? hanging(line, coloured(line, pattern, make)) : line;
    return index ? ["\n", shown] : [shown];
  });
}

// A long line continues below its own start, not at the margin. The text stays as it is, to be copied.
function hanging(line, nodes) {
  const width = line.match(/^\s*/)[0].replaceAll("\t", " ".repeat(TAB)).length;
  // Tabs end at multiples of their size, measured from where the line continues.
  return h("span", { class: "line", vars: { "--indent": `${width + TAB}ch` } }, nodes);
}

function coloured(text, pattern, make) {
  const nodes = [];
  let end = 0;
  for (const match of text.matchAll(pattern)) {
    if (match.index > end) nodes.push(text.slice(end, match.index));
    nodes.push(...make(match));
    end = match.index + match[0].length;
  }
  nodes.push(text.slice(end));
  return nodes;
}

/** JSON set out over lines where the text is JSON, else the text as it is. */
export function pretty(value) {
  if (typeof value !== "string") return JSON.stringify(value, null, 2);
  try {
    return JSON.stringify(JSON.parse(value), null, 2);
  } catch {
    return value;
  }
}

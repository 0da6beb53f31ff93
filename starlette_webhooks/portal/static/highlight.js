// Colours for code, as spans of text. Long texts are cut before they cost anything.

import { h } from "./dom.js";

const JSON_TOKEN = /("(?:[^"\\]|\\.)*")(\s*:)?|\b(true|false|null)\b|(-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)/g;
const CODE_TOKEN =
  /(#[^\n]*|\/\/[^\n]*)|("(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|`[^`]*`)|\b(from|import|def|async|await|return|try|except|raise|if|else|not|const|let|new|function|throw|catch|export|printf|curl|openssl)\b/g;
const MAX_COLOURED = 60_000;

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

// Every element of the page is created here. Strings become text nodes and are never parsed as HTML, links stay within the
// page, and styles are set only as custom properties. So no payload, URL or response body can become markup.

const SVG = "http://www.w3.org/2000/svg";
const CONTROLS = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069\ufeff]/g;

/** Text with control characters and direction overrides escaped, so that it cannot look like something else. */
export function visible(text) {
  return String(text).replace(CONTROLS, (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`);
}

/** An HTML element. `on` holds listeners, `vars` CSS custom properties, `data` data attributes. */
export function h(tag, props = {}, ...children) {
  return build(document.createElement(tag), props ?? {}, children);
}

/** An SVG element. */
export function svg(tag, props = {}, ...children) {
  return build(document.createElementNS(SVG, tag), props ?? {}, children);
}

function build(element, props, children) {
  for (const [name, value] of Object.entries(props)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "on") for (const [type, listener] of Object.entries(value)) element.addEventListener(type, listener);
    else if (name === "vars") for (const [key, text] of Object.entries(value)) element.style.setProperty(key, text);
    else if (name === "data") Object.assign(element.dataset, value);
    else if (name === "value" || name === "checked" || name === "indeterminate") element[name] = value;
    else if (name === "href" && !String(value).startsWith("#")) throw new Error("Links stay within the page.");
    else if (name.startsWith("on") || name === "style" || name === "srcdoc") throw new Error(`${name} is not allowed.`);
    else element.setAttribute(name, value === true ? "" : value);
  }
  append(element, children);
  return element;
}

function append(element, children) {
  for (const child of children) {
    if (child === null || child === undefined || child === false) continue;
    if (Array.isArray(child)) append(element, child);
    else element.append(child instanceof Node ? child : visible(child));
  }
}

/** Replace what is in an element. */
export function fill(element, ...children) {
  element.replaceChildren();
  append(element, children);
  return element;
}

/** Run a task after the next frame, so that what the page shows until then does not wait for it. */
export function afterFrame(task) {
  requestAnimationFrame(() => setTimeout(task));
}

let counter = 0;

/** An id that nothing else on the page has. */
export function uid(prefix = "id") {
  counter += 1;
  return `${prefix}-${counter}`;
}

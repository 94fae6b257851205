// Crops of the gallery: fetched with the key when they come near the window, a few at a time.

import { h, replace } from "/web/dom.js";

const AT_ONCE = 6;
const NEAR = "600px";

// Loads crops for the elements of one page.
export class Crops {
  #api;
  #waiting = [];
  #running = 0;
  #wanted = new WeakMap();
  #observer = new IntersectionObserver((seen) => this.#seen(seen), { rootMargin: NEAR });

  constructor(api) {
    this.#api = api;
  }

  // An element that shows a crop as soon as it is near the window. `path`: a `crop_url`; `alt`: empty
  // where the words beside it say enough.
  element(path, alt) {
    const element = h("span", alt === "" ? { class: "crop", "aria-hidden": "true" } : { class: "crop", role: "img", "aria-label": alt });
    if (!path) return replace(element, h("span", { class: "why" }, "no crop kept"));
    this.#wanted.set(element, path);
    this.#observer.observe(element);
    return element;
  }

  // Far away again, an element gives its picture back: a thousand of them cost no memory.
  #seen(entries) {
    for (const { target, isIntersecting } of entries) {
      if (isIntersecting) this.#waiting.push(target);
      else release(target);
    }
    this.#next();
  }

  #next() {
    while (this.#running < AT_ONCE && this.#waiting.length > 0) {
      const element = this.#waiting.shift();
      if (!element.isConnected) {
        this.#observer.unobserve(element);
        release(element);
      } else if (element.dataset.loaded !== "yes" && isNear(element)) {
        this.#load(element);
      }
    }
  }

  async #load(element) {
    this.#running += 1;
    element.dataset.loaded = "yes";
    try {
      const blob = await this.#api.blob(this.#wanted.get(element));
      if (element.dataset.loaded === "yes") show(element, blob);
    } catch (error) {
      element.dataset.loaded = "";
      replace(element, h("span", { class: "why" }, reason(error)));
    } finally {
      this.#running -= 1;
      this.#next();
    }
  }
}

function show(element, blob) {
  const image = h("img", { alt: "", decoding: "async", src: URL.createObjectURL(blob) });
  image.addEventListener("error", () => {
    replace(element, h("span", { class: "why" }, "this browser cannot show this image"));
  }, { once: true });
  replace(element, image);
}

function release(element) {
  const image = element.querySelector("img");
  if (image !== null) {
    URL.revokeObjectURL(image.src);
    image.remove();
  }
  element.dataset.loaded = "";
}

function isNear(element) {
  const { top, bottom } = element.getBoundingClientRect();
  return bottom > -1_000 && top < window.innerHeight + 1_000;
}

function reason(error) {
  if (error.status === 403) return "not for this key";
  if (error.status === 404) return "no crop kept";
  return error.status === 429 ? "too many requests: scroll back later" : "not loaded";
}

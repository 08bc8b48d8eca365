// The picture of the idea: which version sits in the host's slot, and the swap as a movement.

import { $ } from "/_wharf/elements.js";

export class Picture {
  #node;

  constructor(node) {
    this.#node = node;
  }

  show({ name, generation, isOpen }) {
    this.#node.classList.toggle("open", Boolean(isOpen));
    this.#node.classList.toggle("festive", name === "festive");
    $("picture-version").textContent = name || "plugin";
    $("picture-generation").textContent = generation ? `generation ${generation}` : "sandboxed";
  }

  swap() { this.#play("swapping", 900); }

  refuse() { this.#play("refusing", 2_600); }

  #play(movement, ms) {
    this.#node.classList.remove(movement);
    void this.#node.offsetWidth; // This restarts the animation.
    this.#node.classList.add(movement);
    setTimeout(() => this.#node.classList.remove(movement), ms);
  }
}

// Shows one pair after the other; arrow keys choose. Everything shown goes in as text, never as HTML.
"use strict";

const path = document.getElementById("labelling").dataset.path;
const token = document.querySelector('meta[name="form-token"]').content;
const at = (id) => document.getElementById(id);
let current = null;
let busy = false;

function say(text) {
  at("status").textContent = text;
}

function show(state) {
  current = state.pair;
  at("progress").textContent = `${state.done} of ${state.total} done by you`;
  at("pair").hidden = current === null;
  if (current === null) {
    say("Nothing is left for you. Thank you.");
    return;
  }
  for (const name of ["request", "left", "right"]) {
    at(name).textContent = current[name];
    at(name).scrollTop = 0;
  }
  at("slice").textContent = current.slice;
}

async function call(path, body) {
  if (busy) return;
  busy = true;
  try {
    const options = body === undefined ? {} : {
      method: "POST",
      headers: { "content-type": "application/json", "x-form-token": token },
      body: JSON.stringify(body),
    };
    const answer = await fetch(path, options);
    if (answer.status === 401) {
      location.assign("/sign-in");
      return;
    }
    if (!answer.ok) {
      say(await answer.text());
      return;
    }
    say("");
    show(await answer.json());
  } catch {
    say("The pages cannot be reached; nothing was kept. Try again.");
  } finally {
    busy = false;
  }
}

function choose(word) {
  if (current !== null) call(`${path}/choice`, { item: current.item, word });
}

const keys = {
  ArrowLeft: () => choose("left"),
  ArrowRight: () => choose("right"),
  ArrowDown: () => choose("tie"),
  Backspace: () => call(`${path}/back`, {}),
};

document.addEventListener("keydown", (event) => {
  const act = keys[event.key];
  if (act && !event.ctrlKey && !event.metaKey && !event.altKey && !event.repeat) {
    event.preventDefault();
    act();
  }
});
for (const word of ["left", "tie", "right"]) at(`choose-${word}`).addEventListener("click", () => choose(word));
at("back").addEventListener("click", keys.Backspace);
call(`${path}/next`);

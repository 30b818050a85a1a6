"use strict";
// Sends the pages' forms and puts into the page what comes back. What models and people wrote arrives as text, or as
// a piece of page in which the server has escaped it.
(() => {
  const byId = (id) => document.getElementById(id);
  const status = byId("status"), problem = byId("problem"), result = byId("result"), stop = byId("stop");
  let running = null;

  const fail = (words) => {
    problem.textContent = words;
    problem.hidden = false;
  };

  const errorOf = async (answer) => {
    try {
      return (await answer.json()).error.message;
    } catch {
      return `the workbench answered ${answer.status}`;
    }
  };

  const send = (path, body, signal) =>
    fetch(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body), signal });

  // Reads server-sent events from a POST, which EventSource cannot make.
  const listen = async (answer, onEvent) => {
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      const blocks = (rest + value).split("\n\n");
      rest = blocks.pop();
      for (const block of blocks.filter((one) => !one.startsWith(":"))) {
        const [, name, data] = /^event: (.*)\ndata: (.*)$/.exec(block);
        onEvent(name, JSON.parse(data));
      }
    }
  };

  const run = async (form, path, body, onEvent) => {
    running = new AbortController();
    const submit = form.querySelector("[type=submit]");
    problem.hidden = true;
    result.replaceChildren();
    stop.disabled = false;
    stop.focus();
    submit.disabled = true;
    status.classList.add("busy");
    status.textContent = "sent …";
    let ended = false;
    try {
      const answer = await send(path, body, running.signal);
      if (!answer.ok) throw new Error(await errorOf(answer));
      await listen(answer, (name, data) => {
        ended = ended || name === "done" || name === "problem";
        if (name === "note") status.textContent = data;
        else if (name === "problem") fail(data);
        else if (name === "done") {
          result.innerHTML = data;
          result.focus({ preventScroll: true });
        } else onEvent(name, data);
      });
      status.textContent = ended ? "" : "the connection ended before the answer";
    } catch (error) {
      status.textContent = "";
      if (error.name === "AbortError") status.textContent = "stopped";
      else fail(error.message);
    } finally {
      submit.disabled = false;
      const left = document.activeElement === stop || document.activeElement === document.body;
      if (left && !result.firstChild) submit.focus();
      stop.disabled = true;
      status.classList.remove("busy");
    }
  };

  if (stop) stop.addEventListener("click", () => running && running.abort());

  // Judge
  const judge = byId("judge");
  let asked = null;
  const media = {}; // data URLs by field
  const readFile = (file) =>
    new Promise((resolve, reject) => {
      const reader = new FileReader();
      reader.onload = () => resolve(reader.result);
      reader.onerror = () => reject(new Error(`${file.name} cannot be read`));
      reader.readAsDataURL(file);
    });

  const preview = (field, name) => {
    const place = judge.querySelector(`[data-preview="${field}"]`);
    place.replaceChildren();
    if (!media[field]) return;
    const video = media[field].startsWith("data:video/");
    const shown = document.createElement(video ? "video" : "img");
    if (video) {
      shown.controls = shown.muted = shown.playsInline = true;
      shown.setAttribute("aria-label", name);
    } else {
      shown.alt = name;
      shown.addEventListener("load", () => shown.classList.toggle("tiny", shown.naturalWidth <= 96));
    }
    shown.src = media[field];
    place.append(shown);
  };

  const task = () => judge.elements.task.value;
  const isVideo = () => task().startsWith("video");
  const isText = () => task().endsWith("understanding");
  const title = (field) => {
    const kind = isVideo() ? "Video" : "Image";
    return field === "media" ? `${kind} that both answers are about` : `${kind} ${field.slice(-1)}`;
  };

  const arrange = () => {
    byId("prompt-label").textContent = isText() ? "Question" : "Caption";
    byId("about").hidden = !isText();
    for (const slot of judge.querySelectorAll("[data-slot]")) slot.hidden = (slot.dataset.slot === "text") !== isText();
    for (const word of judge.querySelectorAll("[data-medium]")) word.textContent = isVideo() ? "Video" : "Image";
    for (const input of judge.querySelectorAll("[type=file]")) {
      input.accept = isVideo() ? "video/*,image/gif,image/webp,image/png,image/apng" : "image/*";
    }
  };

  const forget = () => {
    for (const field of ["media", "candidate_1", "candidate_2"]) {
      delete media[field];
      judge.elements[field].value = "";
      preview(field, "");
    }
  };

  const request = () => {
    const body = { task: task(), mode: judge.elements.mode.value, prompt: judge.elements.prompt.value };
    for (const at of [1, 2]) {
      const field = `candidate_${at}`;
      body[field] = isText() ? judge.elements[`text_${at}`].value : media[field];
      if (!body[field]) throw new Error(isText() ? `write answer ${at}` : `choose ${title(field).toLowerCase()}`);
    }
    if (isText()) {
      body.media = media.media;
      if (!body.media) throw new Error(`choose the ${isVideo() ? "video" : "image"} that both answers are about`);
    }
    return body;
  };

  if (judge) {
    judge.addEventListener("change", async (event) => {
      const field = event.target;
      if (field.name === "task") {
        forget();
        arrange();
      } else if (field.type === "file") {
        const file = field.files[0];
        delete media[field.name]; // what was there is not to be judged while the new one is read
        preview(field.name, "");
        if (!file) return;
        try {
          const read = await readFile(file);
          if (field.files[0] !== file) return; // another one was chosen meanwhile
          media[field.name] = read;
          preview(field.name, title(field.name));
        } catch (error) {
          fail(error.message);
        }
      }
    });
    judge.addEventListener("submit", (event) => {
      event.preventDefault();
      problem.hidden = true;
      try {
        asked = request();
      } catch (error) {
        fail(error.message);
        return;
      }
      const texts = [...document.querySelectorAll("[data-order]")];
      for (const text of texts) text.textContent = "";
      byId("writing").hidden = false;
      run(judge, "/judge", { ...asked, model: judge.elements.model.value }, (name, [order, piece]) => {
        texts[order].textContent += piece;
      });
    });
    byId("example").addEventListener("click", async () => {
      problem.hidden = true;
      let row;
      try {
        const answer = await fetch(`/example?task=${task()}&number=${Math.floor(Math.random() * 1e6)}`);
        if (!answer.ok) throw new Error(await errorOf(answer));
        row = await answer.json();
      } catch (error) {
        fail(error.message);
        return;
      }
      if (row.task !== task()) return; // another one was chosen meanwhile
      forget();
      judge.elements.prompt.value = row.prompt;
      if (isText()) for (const at of [1, 2]) judge.elements[`text_${at}`].value = row[`candidate_${at}`];
      const fields = isText() ? ["media"] : ["candidate_1", "candidate_2"];
      for (const field of fields) {
        media[field] = row[field];
        preview(field, title(field));
      }
      status.textContent = "an example is filled in";
    });
    arrange();
  }

  // Compare
  const compare = byId("compare");
  if (compare) {
    compare.addEventListener("submit", (event) => {
      event.preventDefault();
      const chosen = Object.fromEntries(new FormData(compare));
      const { left, right, mode } = chosen;
      const body = { left, right, mode, count: Number(chosen.count), page: Number(chosen.page) - 1 };
      if (chosen.task) body.task = chosen.task;
      run(compare, "/compare", body, () => {});
    });
  }

  // Preferences, on both pages
  if (result) {
    result.addEventListener("click", async (event) => {
      const button = event.target.closest("[data-vote]");
      if (!button) return;
      const ballot = button.closest(".ballot"), words = ballot.querySelector("[role=status]");
      const buttons = [...ballot.querySelectorAll("button")];
      const preferred = button.dataset.vote === "tie" ? "tie" : Number(button.dataset.vote);
      const pair = ballot.dataset.pair;
      if (button.getAttribute("aria-disabled")) return;
      for (const one of buttons) one.setAttribute("aria-disabled", "true"); // keeps the focus, as disabled does not
      try {
        const answer = pair
          ? await send("/compare/vote", { pair, preferred })
          : await send("/vote", { ...asked, preferred });
        if (!answer.ok) throw new Error(await errorOf(answer));
        button.setAttribute("aria-pressed", "true");
        words.textContent = `saved in the inbox as ${(await answer.json()).saved}`;
      } catch (error) {
        words.textContent = error.message;
        for (const one of buttons) one.removeAttribute("aria-disabled");
      }
    });
  }
})();

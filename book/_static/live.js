// Brings the figures of erragree_utils/plots/live.py to life. It shows what stands in their JSON;
// it computes nothing, but for "Run it live", where live_models.mjs runs the models.
(() => {
  const here = document.currentScript ? document.currentScript.src : "";
  const all = (root, selector) => [...root.querySelectorAll(selector)];
  const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

  /** Call `move` with each place of a pointer that is down on an element, from the first on. */
  function whileDragged(element, move) {
    let down = false;
    element.addEventListener("pointerdown", (event) => {
      if (event.button) return;
      down = true;
      element.setPointerCapture(event.pointerId);
      move(event);
    });
    element.addEventListener("pointermove", (event) => down && move(event));
    for (const end of ["pointerup", "pointercancel"]) {
      element.addEventListener(end, () => (down = false));
    }
  }

  /** Number of the entry for which `distance` is smallest. */
  function nearest(count, distance) {
    let best = 0;
    for (let k = 1; k < count; k++) if (distance(k) < distance(best)) best = k;
    return best;
  }

  /** An object dragged across a picture. */
  function drag(figure, data) {
    const [handle] = all(figure, ".live-handle");
    const [image, slider, cursor, run] = [".live-handle img", ".live-slider", ".live-cursor", ".live-run"]
      .map((selector) => figure.querySelector(selector));
    const rows = all(figure, ".live-readings tbody tr").map((row) => ({
      value: all(row, ".live-value")[1],
      bar: all(row, ".live-bar i")[1],
      here: row.querySelector(".live-here"),
    }));
    data.frames.forEach((address) => (new Image().src = address));
    let compute = null;

    function show(frame) {
      image.src = data.frames[frame];
      data.readings.forEach((reading, k) => {
        rows[k].value.textContent = reading.shown[frame];
        rows[k].bar.style.width = `${reading.bars[frame]}%`;
      });
      const along = (100 * frame) / (data.frames.length - 1);
      cursor.setAttribute("x1", along);
      cursor.setAttribute("x2", along);
      slider.value = frame;
      const said = data.readings.map((reading) => `${reading.name}: ${reading.shown[frame]}`);
      slider.setAttribute("aria-valuetext", `${Math.round(along)} per cent of the way. ${said.join(". ")}`);
      if (compute) compute(frame);
    }

    whileDragged(handle, (event) => {
      const box = image.getBoundingClientRect();
      const share = (event.clientX - box.left) / box.width;
      figure.classList.add("live-touched");
      show(nearest(data.places.length, (k) => Math.abs(data.places[k] - share)));
    });
    slider.addEventListener("input", () => show(Number(slider.value)));
    figure.querySelector(".live-hint").hidden = false;
    show(data.frames.length - 1);

    if (!run) return;
    const [button, status] = [run.querySelector("button"), run.querySelector("output")];
    button.addEventListener("click", async () => {
      button.disabled = true;
      status.textContent = "Loading …";
      try {
        const models = await import(new URL("live_models.mjs", here));
        const read = await models.load(data.live, new URL("live/", here));
        let latest = 0;
        compute = async (frame) => {
          const turn = ++latest;
          const found = await read(frame, () => turn === latest);
          if (!found || turn !== latest) return;
          found.values.forEach((value, k) => {
            const cosine = data.readings[k].unit === "cosine";
            rows[k].here.textContent = `in your browser: ${cosine ? value.toFixed(3) : `${Math.round(100 * value)}%`}`;
            rows[k].here.dataset.value = value;
            rows[k].here.hidden = false;
          });
          figure.querySelector(".live-readings").dataset.frame = frame;
          status.textContent = `Computed here in ${Math.round(found.milliseconds)} ms, for each place you choose.`;
        };
        button.hidden = true;
        await compute(Number(slider.value));
      } catch (error) {
        status.textContent = `The models could not be loaded (${error.message}). The values above were computed when the page was built.`;
      }
    });
  }

  /** Dots, one for each pair; a slider carries them, a click shows the pair. */
  function points(figure, data) {
    const plot = figure.querySelector("svg");
    const dots = all(figure, ".live-dots circle:not(.live-ring)");
    const ring = figure.querySelector(".live-ring");
    const [slider, select] = [figure.querySelector(".live-slider"), figure.querySelector("select")];
    const [summary, question] = [".live-summary output", ".live-question"].map((s) => figure.querySelector(s));
    const [thumbs, texts, ahead] = [".live-thumb", ".live-text", ".live-ahead"].map((s) => all(figure, s));
    let [state, chosen] = [0, data.start];

    function show() {
      dots.forEach((dot, k) => {
        dot.style.transform = `translate(${data.x[state][k]}px,${data.y[state][k]}px)`;
        dot.setAttribute("class", data.right[state][k] ? "right" : "wrong");
      });
      ring.style.transform = dots[chosen].style.transform;
      summary.textContent = data.summary[state];
      select.selectedIndex = chosen;
      question.textContent = data.pairs[chosen].question;
      for (const image of [0, 1]) {
        const tile = 2 * chosen + image;
        thumbs[image].style.setProperty("--tile-x", tile % data.columns);
        thumbs[image].style.setProperty("--tile-y", Math.floor(tile / data.columns));
        texts[image].textContent = data.pairs[chosen].texts[image];
        const by = data.ahead[state][image][chosen];
        ahead[image].textContent = by > 0 ? `✓ own text ahead by ${by}` : `✗ own text behind by ${-by}`;
      }
      if (slider) slider.setAttribute("aria-valuetext", data.summary[state]);
    }

    whileDragged(plot, (event) => {
      const [box, view] = [plot.getBoundingClientRect(), plot.viewBox.baseVal];
      const x = ((event.clientX - box.left) / box.width) * view.width;
      const y = ((event.clientY - box.top) / box.height) * view.height;
      chosen = nearest(dots.length, (k) => Math.hypot(data.x[state][k] - x, data.y[state][k] - y));
      show();
    });
    select.addEventListener("change", () => {
      chosen = select.selectedIndex;
      show();
    });
    if (slider) {
      slider.addEventListener("input", () => {
        state = clamp(Number(slider.value), 0, data.states.length - 1);
        show();
      });
    }
    show();
  }

  /** Cards with a question: you answer, then the readers. */
  function quiz(figure, data) {
    const cards = all(figure, ".live-card");
    const tally = figure.querySelector(".live-tally output");
    const yours = cards.map(() => null);
    tally.textContent = "Answer a card to see what the models say.";
    cards.forEach((card, number) => {
      const options = card.querySelector(".live-options");
      const details = card.querySelector("details");
      const buttons = all(options, "button");
      details.hidden = true;
      options.hidden = false;
      buttons.forEach((button, k) =>
        button.addEventListener("click", () => {
          const right = Number(card.dataset.right);
          yours[number] = k === right;
          buttons.forEach((other, place) => {
            other.disabled = true;
            if (place === right) other.classList.add("right");
          });
          if (k !== right) button.classList.add("wrong");
          button.textContent = `${k === right ? "✓" : "✗"} ${button.textContent}`;
          details.hidden = false;
          details.open = true;
          const done = yours.map((_, place) => place).filter((place) => yours[place] !== null);
          const counts = [["You", yours], ...data.readers.map((name, r) => [name, data.right[r]])].map(
            ([name, correct]) => `${name} ${done.filter((place) => correct[place]).length}`
          );
          tally.textContent = `Right, of ${done.length}: ${counts.join(", ")}`;
        })
      );
    });
  }

  /** Histograms of two kinds of images along a direction that a slider turns, for each model. */
  function clouds(figure, data) {
    const still = figure.querySelector(".live-still"); // stays for print
    const plot = still.querySelector("svg").cloneNode(true);
    const [slider, select] = [figure.querySelector(".live-slider"), figure.querySelector("select")];
    const summary = figure.querySelector(".live-summary output");
    const groups = all(plot, "g").map((group) => all(group, "rect"));
    plot.classList.add("live-turned");
    still.before(plot);

    function show() {
      const [model, state] = [select ? select.selectedIndex : 0, Number(slider.value)];
      groups.forEach((bars, group) =>
        bars.forEach((bar, k) => {
          const height = data.heights[model][state][group][k];
          bar.setAttribute("y", 100 - height);
          bar.setAttribute("height", height);
        })
      );
      summary.textContent = data.summary[model][state];
      slider.setAttribute("aria-valuetext", data.summary[model][state]);
      plot.setAttribute("aria-label", data.summary[model][state]);
    }
    slider.addEventListener("input", show);
    if (select) select.addEventListener("change", show);
    show();
  }

  /** Two images to choose, and where their cosine lies among others. */
  function pick(figure, data) {
    const buttons = all(figure, ".live-images button");
    const cursor = figure.querySelector(".live-cursor");
    const summary = figure.querySelector(".live-summary output");
    let chosen = data.start;

    function show() {
      buttons.forEach((button, k) => button.setAttribute("aria-pressed", chosen.includes(k)));
      const cosine = data.cosines[chosen[0]][chosen[1]];
      const place = clamp((100 * (cosine - data.low)) / (1 - data.low), 0, 100);
      cursor.setAttribute("x1", place);
      cursor.setAttribute("x2", place);
      summary.textContent = `Cosine ${cosine.toFixed(4)}: ${data.names[chosen[0]]}, and ${data.names[chosen[1]]}`;
    }
    buttons.forEach((button, k) => {
      button.disabled = false;
      button.addEventListener("click", () => {
        if (chosen.includes(k)) return;
        chosen = [chosen[1], k]; // the older choice goes
        show();
      });
    });
    show();
  }

  /** What each GPU holds, for the bits of a weight and the images at a time that are chosen. */
  function calculator(figure, data) {
    const buttons = all(figure, "fieldset button");
    const slider = figure.querySelector(".live-slider");
    const summary = figure.querySelector(".live-summary output");
    const rows = all(figure, "tbody tr").map((row) => ({
      bars: all(row, ".live-stack i"),
      texts: ["need", "fits", "time"].map((name) => row.querySelector(`.live-${name}`)),
    }));
    let bits = buttons.findIndex((button) => button.getAttribute("aria-pressed") === "true");

    function show() {
      const state = data.states[bits][Number(slider.value)];
      rows.forEach((row, k) => {
        row.bars.forEach((bar, part) => (bar.style.width = `${state.bars[k][part]}%`));
        [state.needs, state.fits, state.times].forEach((values, n) => (row.texts[n].textContent = values[k]));
      });
      buttons.forEach((button, k) => button.setAttribute("aria-pressed", k === bits));
      summary.textContent = state.summary;
      slider.setAttribute("aria-valuetext", state.summary);
    }
    buttons.forEach((button, k) =>
      button.addEventListener("click", () => {
        bits = k;
        show();
      })
    );
    slider.addEventListener("input", show);
    show();
  }

  /** Effects, of which a box of the diagram leaves those that act through it. */
  function effects(figure, data) {
    const boxes = all(figure, ".live-diagram button");
    const rows = all(figure, "tbody tr");
    const summary = figure.querySelector(".live-summary output");
    const reset = figure.querySelector(".live-all");
    const whole = summary.textContent;

    function show(chosen) {
      boxes.forEach((box, k) => box.setAttribute("aria-pressed", k === chosen));
      rows.forEach((row, k) => (row.hidden = chosen >= 0 && !data.rows[chosen].includes(k)));
      summary.textContent = chosen < 0 ? whole : data.summary[chosen];
      reset.hidden = chosen < 0;
    }
    boxes.forEach((box, k) => {
      box.disabled = !data.rows[k].length;
      box.addEventListener("click", () => show(box.getAttribute("aria-pressed") === "true" ? -1 : k));
    });
    reset.addEventListener("click", () => {
      show(-1);
      boxes.find((box) => !box.disabled).focus();
    });
  }

  const kinds = { drag, points, quiz, clouds, pick, calculator, effects };
  function start() {
    for (const figure of all(document, "figure.live")) {
      const data = figure.querySelector("script[type='application/json']").textContent;
      all(figure, ".live-control, .live-run").forEach((control) => (control.hidden = false));
      kinds[figure.dataset.live](figure, JSON.parse(data));
      figure.classList.add("is-live");
    }
  }
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
  else start();
})();

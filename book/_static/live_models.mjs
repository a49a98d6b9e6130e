// "Run it live": the models of the first page in the browser, by onnxruntime-web (wasm, one thread).

/** Fetch runtime, graphs and pictures from `base`; a function that reads a frame.
 *
 * It gives the values in the order of the figure's rows (CLIP's cosine to the start, its score of
 * each caption, LLaVA's P(Yes) to each question), or null if `current()` is false by its turn. */
export async function load(live, base) {
  const ort = await import(new URL("ort.wasm.min.mjs", base));
  ort.env.wasm.numThreads = 1;
  ort.env.wasm.wasmPaths = base.href;
  const names = ["clip-image", "clip-text", "llava-tower", "llava-answer"];
  const [bytes, ...sessions] = await Promise.all([
    fetched("frames.bin").then((answer) => answer.arrayBuffer()),
    ...names.map((name) => fetched(`${name}.onnx`).then((answer) => answer.arrayBuffer())),
  ]);
  const frames = new Uint8Array(bytes);
  const made = [];
  for (const graph of sessions) made.push(await ort.InferenceSession.create(graph)); // in turn: one thread
  const [clipImage, clipText, tower, answer] = made;

  async function fetched(name) {
    const answer = await fetch(new URL(name, base));
    if (!answer.ok) throw new Error(`${name}: ${answer.status}`);
    return answer;
  }

  const run = async (session, ...tensors) => {
    const feeds = Object.fromEntries(session.inputNames.map((name, k) => [name, tensors[k]]));
    return (await session.run(feeds))[session.outputNames[0]];
  };
  const tokens = (rows) =>
    new ort.Tensor("int64", BigInt64Array.from(rows.flat(), BigInt), [rows.length, rows[0].length]);
  const pixels = (frame) => {
    const count = live.size * live.size * 3;
    const values = Float32Array.from(frames.subarray(frame * count, (frame + 1) * count));
    return new ort.Tensor("float32", values, [1, live.size, live.size, 3]);
  };
  const dot = (a, b) => a.reduce((sum, value, k) => sum + value * b[k], 0);

  const texts = (await run(clipText, tokens(live.captions))).data;
  const start = (await run(clipImage, pixels(0))).data;
  const captions = live.captions.map((_, k) => texts.subarray(k * start.length, (k + 1) * start.length));
  const questions = tokens(live.questions);

  async function read(frame) {
    const began = performance.now();
    const image = pixels(frame);
    const seen = (await run(clipImage, image)).data;
    const yes = (await run(answer, questions, await run(tower, image))).data;
    const values = [dot(seen, start), ...captions.map((text) => dot(seen, text)), ...yes];
    return { values, milliseconds: performance.now() - began };
  }

  let queue = Promise.resolve();
  return (frame, current) => {
    queue = queue.then(() => (current() ? read(frame) : null));
    return queue;
  };
}

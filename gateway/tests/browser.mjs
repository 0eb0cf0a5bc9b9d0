// `node browser.mjs CHROMIUM FOLDER URL EXPRESSION [PNG [WIDTHxHEIGHT]]`: opens a page in a headless browser and prints
// as JSON what the expression becomes there once it is neither null nor undefined; with PNG it takes a picture
// then. It speaks to the browser over two pipes, so that there is no port that others could reach.
import { spawn } from "node:child_process";
import { writeFileSync } from "node:fs";

const [program, folder, url, expression, picture, size = "1400x1000"] = process.argv.slice(2);
const LIMIT = 60_000;
const root = process.getuid?.() === 0 ? ["--no-sandbox"] : [];
const browser = spawn(program, ["--headless", "--disable-gpu", "--disable-dev-shm-usage", ...root, `--user-data-dir=${folder}`,
  `--window-size=${size.replace("x", ",")}`, "--remote-debugging-pipe", "about:blank"], { stdio: ["ignore", "ignore", "ignore", "pipe", "pipe"] });
process.on("exit", () => browser.kill("SIGKILL"));

function fail(text) {
  console.error(text);
  process.exit(1);
}
setTimeout(() => fail(`not within ${LIMIT} ms: ${expression}`), LIMIT);
browser.on("error", (error) => fail(`${program}: ${error.message}`));
browser.on("exit", (code) => fail(`${program} ended with ${code}`));

const waiting = new Map();
let sent = 0, received = Buffer.alloc(0);
browser.stdio[4].on("data", (chunk) => {
  received = Buffer.concat([received, chunk]);
  for (let end; (end = received.indexOf(0)) >= 0; received = received.subarray(end + 1)) {
    const message = JSON.parse(received.subarray(0, end).toString());
    if (message.method === "Runtime.exceptionThrown") fail(`the page failed: ${JSON.stringify(message.params.exceptionDetails)}`);
    const answer = waiting.get(message.id);
    waiting.delete(message.id);
    if (message.error) fail(`${message.error.message}`);
    answer?.(message.result);
  }
});

function call(method, params = {}, sessionId = undefined) {
  const id = ++sent;
  browser.stdio[3].write(`${JSON.stringify({ id, method, params, sessionId })}\0`);
  return new Promise((done) => waiting.set(id, done));
}

const { targetId } = await call("Target.createTarget", { url: "about:blank" });
const { sessionId } = await call("Target.attachToTarget", { targetId, flatten: true });
const page = (method, params) => call(method, params, sessionId);
await page("Runtime.enable");
await page("Page.enable");
await page("Page.navigate", { url });
for (;;) {
  const { result, exceptionDetails } = await page("Runtime.evaluate", { expression, returnByValue: true });
  if (exceptionDetails) fail(`${expression}: ${exceptionDetails.exception?.description ?? exceptionDetails.text}`);
  if (result.value !== null && result.value !== undefined) {
    console.log(JSON.stringify(result.value));
    break;
  }
  await new Promise((done) => setTimeout(done, 100));
}
if (picture) {
  const { data } = await page("Page.captureScreenshot", { format: "png", captureBeyondViewport: true });
  writeFileSync(picture, Buffer.from(data, "base64"));
}
process.exit(0);

// Headless Chromium, driven one JSON line at a time: a command in on stdin, its result out on stdout.
//
//   {"do": "open", "url": U}                  a new tab at U                       {"tab": 0}
//   {"do": "open_many", "urls": [U, …]}       tabs for all of them at once         {"tabs": [0, …]}
//   {"do": "go", "tab": 0, "url": U}          the tab goes to U
//   {"do": "sign_in", "tab": 0, "user": N}    fills in the provider's login form
//   {"do": "arrive", "tab": 0, "at": PREFIX}  waits until the tab is at an address that starts so
//   {"do": "press", "tab": 0, "what": CSS, "popup": false, "frame": false}   clicks; what a popup opens is {"tab": n}
//   {"do": "look", "tab": 0, "frame": false}  {"url", "title", "text", "html"}
//   {"do": "frame", "tab": 0, "url": U}       puts a frame of U into the page
//   {"do": "cookies", "url": U}               {"cookies": [{name, value, httpOnly, secure, sameSite, path}]}
//   {"do": "evaluate", "tab": 0, "text": JS}   {"value": …}, once it is settled
//   {"do": "picture", "tab": 0, "file": F}    a screenshot
//
// By default it keeps third parties out, as browsers do now; the argument `third-party-cookies` lets them in.
//
// A failure answers {"error": text}. The browser ends, and its profile with it, when stdin does.
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { chromium } from 'playwright-core';

const profile = mkdtempSync(join(tmpdir(), 'chromium-profile-'));
if (process.argv[2] === 'third-party-cookies') {
  mkdirSync(join(profile, 'Default'));
  const preferences = { profile: { cookie_controls_mode: 0, block_third_party_cookies: false } };
  writeFileSync(join(profile, 'Default', 'Preferences'), JSON.stringify(preferences));
}
const browser = await chromium.launchPersistentContext(profile, {
  executablePath: '/usr/bin/chromium',
  headless: true,
  // Certificates here are of an authority that each test makes for itself.
  ignoreHTTPSErrors: true,
  args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
    '--disable-component-update', '--disable-sync',
    '--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1 , EXCLUDE localhost'],
});
browser.setDefaultTimeout(20_000);
const tabs = [];
const added = (page) => tabs.push(page) - 1;
const inside = ({ tab, frame }) => (frame ? tabs[tab].frames()[1] : tabs[tab].mainFrame());

const COMMANDS = {
  open: async ({ url }) => {
    const page = await browser.newPage();
    await page.goto(url);
    return { tab: added(page) };
  },
  open_many: async ({ urls }) => {
    const pages = await Promise.all(urls.map(() => browser.newPage()));
    await Promise.all(pages.map((page, index) => page.goto(urls[index])));
    return { tabs: pages.map(added) };
  },
  go: async ({ tab, url }) => { await tabs[tab].goto(url); },
  sign_in: async ({ tab, user }) => {
    // A tab in the background draws a frame a second, and what waits for a frame waits for that.
    await tabs[tab].bringToFront();
    await tabs[tab].fill('input[name=login]', user);
    await tabs[tab].fill('input[name=password]', 'any');
    await tabs[tab].press('input[name=password]', 'Enter');
  },
  arrive: async ({ tab, at }) => { await tabs[tab].waitForURL((url) => url.href.startsWith(at)); },
  press: async ({ tab, what, popup, frame }) => {
    const opened = popup ? browser.waitForEvent('page') : null;
    await inside({ tab, frame }).click(what);
    return opened ? { tab: added(await opened) } : {};
  },
  look: async ({ tab, frame }) => {
    const where = inside({ tab, frame });
    return { url: where.url(), title: await where.title(), text: await where.innerText('body'), html: await where.content() };
  },
  frame: async ({ tab, url }) => {
    await tabs[tab].evaluate((address) => new Promise((resolve) => {
      const frame = Object.assign(document.createElement('iframe'), { src: address, onload: resolve });
      document.body.append(frame);
    }), url);
  },
  cookies: async ({ url }) => ({ cookies: await browser.cookies(url) }),
  evaluate: async ({ tab, text }) => ({ value: await tabs[tab].evaluate(text) }),
  picture: async ({ tab, file }) => { await tabs[tab].screenshot({ path: file }); },
};

console.log(JSON.stringify({ version: browser.browser()?.version() ?? 'ready' }));
try {
  for await (const line of createInterface({ input: process.stdin })) {
    const command = JSON.parse(line);
    const result = await COMMANDS[command.do](command).catch((error) => ({ error: String(error) }));
    console.log(JSON.stringify(result ?? {}));
  }
} finally {
  await browser.close();
  rmSync(profile, { recursive: true, force: true });
}

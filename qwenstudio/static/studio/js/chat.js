// The chat page: what is said goes to the API, which makes a row for the answer; the stream tells what is written into it.
// A reload shows the rows and follows the same stream, so it loses nothing.

import { AnswerStream } from "./answerstream.js";
import { call, readElement } from "./api.js";
import { ChatBox } from "./chatbox.js";
import { ask, copy, toast } from "./common.js";
import { Draft } from "./draft.js";
import { Instructions } from "./instructions.js";
import { MessageView } from "./message.js";
import { Talks } from "./talks.js";
import { say } from "./words.js";

const NEAR_END = 140; // pixels: whoever reads further up is left there
const chat = document.getElementById("chat");
const { api, messages: messagesApi, presets, page, studio, who } = chat.dataset;
const feed = document.getElementById("messages");
const title = document.getElementById("talk-title");
const views = new Map();
const { conversation: opened, messages, earlier } = readElement("snapshot");
let conversation = opened;
let older = earlier;
let system = "";

const talks = new Talks(document.getElementById("talks"), document.getElementById("talks-none"), { page });
const form = document.getElementById("chatbox");
const box = form && new ChatBox(form, { who, onSend: send, onStop: stop, onEditLast: editLast });
const titles = new Map(form ? [...form.elements.model.options].map((option) => [option.value, option.text]) : []);
const stream = new AnswerStream({ onEvent, onLost: look });

// ---- messages

function put(message) {
  const known = views.get(message.id);
  if (known) return known.update(message);
  const view = new MessageView(message, { titles });
  views.set(message.id, view);
  const after = [...feed.children].find((element) => element.view.message.place > message.place);
  feed.insertBefore(view.element, after ?? null);
  document.getElementById("empty").hidden = true;
  return undefined;
}

/** What stands at a place and after it has gone. */
function cut(place) {
  for (const view of [...views.values()])
    if (view.message.place >= place) {
      view.element.remove();
      views.delete(view.message.id);
    }
}

/** Do what makes the page longer; whoever reads its end goes along. */
function grow(work, { always = false } = {}) {
  const root = document.documentElement;
  const atEnd = always || innerHeight + scrollY >= root.scrollHeight - NEAR_END;
  work();
  if (atEnd) scrollTo({ top: root.scrollHeight, behavior: "instant" });
}

const last = () => feed.lastElementChild?.view;

async function showEarlier() {
  const height = document.documentElement.scrollHeight;
  const found = await call("GET", `${api}/${conversation.id}/messages?limit=30&cursor=${encodeURIComponent(older)}`);
  for (const message of found.results) put(message);
  older = found.next && new URL(found.next).searchParams.get("cursor");
  scrollBy({ top: document.documentElement.scrollHeight - height, behavior: "instant" });
  refresh();
}

// ---- turns

/** Begin a turn: `request` calls the API; the answer that waits then is followed to its end. */
async function turn(request) {
  box.complain("");
  box.busy = true;
  try {
    take(await request());
    return true;
  } catch (error) {
    box.busy = Boolean(last()?.isUnderWay);
    if (error.code === "answer_under_way") location.reload(); // in another tab of ours
    box.complain(Object.values(error.errors ?? {}).flat()[0] ?? (error.status ? error.message : say("againFailed")));
    return false;
  }
}

function take({ conversation: row, said, answer }) {
  if (!conversation) enter(row);
  conversation = row;
  talks.lift(row);
  refresh();
  cut((said ?? answer).place);
  grow(
    () => {
      if (said) put(said);
      put(answer);
    },
    { always: true },
  );
  follow();
}

/** A conversation that has just begun gets its address. */
function enter({ id }) {
  history.pushState(null, "", talks.address(id));
  for (const link of document.querySelectorAll("[data-file]")) link.href = talks.address(id) + link.dataset.file;
  chat.dataset.open = "";
}

async function send(text) {
  const { value: model } = box.model;
  const request = conversation
    ? () => call("POST", `${api}/${conversation.id}/messages`, { body: { text, model } })
    : () => call("POST", api, { body: { text, model, system } });
  const isNew = !conversation;
  if (!(await turn(request))) return;
  box.clear();
  if (isNew) box.open(conversation.id);
}

const again = () => turn(() => call("POST", `${api}/${conversation.id}/answer`, { body: { model: box.model.value } }));

async function stop() {
  box.stopButton.disabled = true;
  try {
    await call("POST", `${api}/${conversation.id}/stop`, { body: {} });
  } catch {
    box.stopButton.disabled = false;
    toast(say("againFailed"));
  }
}

// ---- the stream

function follow() {
  box.busy = true;
  stream.open(`${api}/${conversation.id}/events`);
}

function onEvent(kind, data) {
  notice("");
  if (kind === "idle") return ended();
  if (kind === "piece") {
    const view = views.get(data.id);
    view?.grow(data).then((mayShow) => mayShow && grow(() => view.show()));
    return undefined;
  }
  grow(() => put(data));
  if (kind === "end") ended(data);
  return undefined;
}

function ended(message) {
  box.busy = false;
  if (message) document.getElementById("announce").textContent = say(message.status === "done" ? "answered" : "answerEnded");
}

/** Whether there is still something to follow; being asked renews the pass of the stream. */
async function look() {
  try {
    await call("GET", `${api}/${conversation.id}`);
    return true;
  } catch (error) {
    if (error.status === 404) {
      box.busy = false;
      notice(say("talkGone"));
      return null;
    }
    notice(error.status === 401 ? say("signedOut") : say("offline"));
    return false;
  }
}

function notice(text) {
  const line = document.getElementById("notice");
  line.textContent = text;
  line.hidden = !text;
}

// ---- what stands around a message

feed.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  const view = button?.closest("article")?.view;
  if (!view) return;
  if ("copyCode" in button.dataset) copy(button.closest(".codeblock").querySelector("code").textContent);
  if ("copyText" in button.dataset) copy(view.message.text);
  if ("again" in button.dataset) again();
  if ("edit" in button.dataset) edit(view);
  if ("draw" in button.dataset) draw(view);
});
feed.addEventListener("pointerdown", (event) => {
  if (event.target.closest("[data-draw]")) event.preventDefault(); // the selection stays
});

/** Into the studio, by the draft of its form: what people write stands in no address. */
function draw(view) {
  const draft = new Draft(who);
  draft.write({ ...draft.read(), prompt: view.prompt, asTyped: true });
  location.assign(studio);
}

function edit(view) {
  if (box.isBusy || view.element.querySelector(".edit")) return;
  const editor = document.getElementById("edit-template").content.firstElementChild.cloneNode(true);
  const { text } = editor.elements;
  const close = () => {
    editor.remove();
    view.element.classList.remove("editing");
    view.element.querySelector("[data-edit]").focus();
  };
  text.value = view.message.text;
  text.rows = Math.min(12, text.value.split("\n").length + 1);
  editor.addEventListener("keydown", (event) => {
    if (event.isComposing) return;
    if (event.key === "Escape") close();
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) editor.requestSubmit();
  });
  editor.querySelector("[data-cancel]").addEventListener("click", close);
  editor.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (box.isBusy || !text.value.trim()) return;
    const body = { text: text.value, model: box.model.value };
    await turn(() => call("PUT", `${messagesApi}/${view.message.id}`, { body }));
  });
  view.element.classList.add("editing");
  view.element.append(editor);
  text.focus();
}

function editLast(event) {
  const said = [...feed.children].map((element) => element.view).findLast((view) => !view.isAnswer);
  if (!said) return;
  event.preventDefault();
  edit(said);
}

// ---- what stands around a conversation

function refresh() {
  title.textContent = conversation ? conversation.title : title.textContent;
  if (conversation) document.title = `${conversation.title} · QwenStudio`;
  document.querySelector(".talk-menu").hidden = !conversation;
  document.getElementById("earlier").hidden = !older;
  form?.querySelector("[data-instructions]").toggleAttribute("data-set", Boolean(conversation ? conversation.system : system));
}

const change = async (body) => {
  conversation = await call("PATCH", `${api}/${conversation.id}`, { body });
  talks.rename(conversation);
  refresh();
};

const instructions = new Instructions(document.getElementById("instructions"), {
  given: readElement("presets"),
  own: readElement("own-presets"),
  api: presets,
  use: async (text) => {
    if (conversation) await change({ system: text });
    else system = text;
    refresh();
  },
});
form?.querySelector("[data-instructions]").addEventListener("click", () => instructions.open(conversation?.system ?? system));

const rename = document.getElementById("rename");
document.querySelector("[data-rename]").addEventListener("click", () => {
  document.querySelector(".talk-menu").open = false;
  rename.querySelector(".field-error").hidden = true;
  rename.querySelector("input").value = conversation.title;
  rename.showModal();
  rename.querySelector("input").select();
});
rename.querySelector("form").addEventListener("submit", async (event) => {
  event.preventDefault();
  try {
    await change({ title: rename.querySelector("input").value });
    rename.close();
  } catch (error) {
    const line = rename.querySelector(".field-error");
    line.textContent = Object.values(error.errors ?? {}).flat()[0] ?? say("againFailed");
    line.hidden = false;
  }
});
for (const button of document.querySelectorAll("dialog [data-close]"))
  button.addEventListener("click", () => button.closest("dialog").close());

document.querySelector("[data-delete]").addEventListener("click", async () => {
  document.querySelector(".talk-menu").open = false;
  const sure = { title: say("talkAsk"), text: say("talkAskText", { title: conversation.title }), yes: say("askDeleteYes") };
  if (!(await ask(sure))) return;
  try {
    await call("DELETE", `${api}/${conversation.id}`);
    location.assign(page);
  } catch {
    toast(say("againFailed"));
  }
});

document.addEventListener("keydown", (event) => {
  const elsewhere = event.target.closest("dialog, .edit, details[open]");
  if (event.key === "Escape" && box?.isBusy && !elsewhere) stop();
});
for (const chip of document.querySelectorAll("[data-sample]")) chip.addEventListener("click", () => box.put(chip.textContent));

/** What the demo model can do is not what others can: first questions follow the model. */
function showFirst() {
  const parts = [...document.querySelectorAll("[data-first]")];
  const own = parts.find((part) => part.dataset.first === box.model.value) ?? parts.find((part) => !part.dataset.first);
  for (const part of parts) part.hidden = part !== own;
}
if (box) {
  box.model.addEventListener("change", showFirst);
  showFirst();
}
document.querySelector("#earlier button").addEventListener("click", () => showEarlier().catch(() => toast(say("againFailed"))));
addEventListener("popstate", () => location.reload());
addEventListener("pageshow", (event) => event.persisted && location.reload());

for (const message of messages) put(message);
refresh();
if (box) box.open(conversation?.id);
if (box && last()?.isUnderWay) follow();
if (messages.length) scrollTo({ top: document.documentElement.scrollHeight, behavior: "instant" });
// The test of the page waits for this.
chat.dataset.ready = "1";

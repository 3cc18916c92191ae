// Sends a LoRA's file in pieces before the form is saved: a piece passes every bound for a body on the way, a file of half
// a gigabyte does not. One that breaks off goes on where it stopped. Without this script small files go with the form.

const line = document.getElementById("qs-pieces");
const input = document.getElementById("id_file");
const upload = document.getElementById("id_upload");
const form = input?.form;
const TRIES = 4;

async function sendPiece(file, at) {
  const body = file.slice(at, at + Number(line.dataset.bytes));
  const headers = {
    "Content-Type": "application/octet-stream",
    "X-CSRFToken": form.querySelector("[name=csrfmiddlewaretoken]").value,
  };
  const answer = await fetch(`${line.dataset.url}?at=${at}`, { method: "POST", body, headers });
  const found = await answer.json();
  if (!answer.ok) throw Object.assign(new Error(found.error ?? String(answer.status)), { final: answer.status === 413 });
  return found.size;
}

async function send(file) {
  let at = 0;
  let failed = 0;
  while (at < file.size) {
    line.textContent = line.dataset.sending.replace("{percent}", String(Math.floor((100 * at) / file.size)));
    try {
      at = await sendPiece(file, at); // the server says where the next one begins
      failed = 0;
    } catch (error) {
      if (error.final || ++failed === TRIES) throw error;
      await new Promise((done) => setTimeout(done, 1000 * failed));
    }
  }
}

if (line && input && upload)
  form.addEventListener("submit", async (event) => {
    const [file] = input.files;
    if (!file) return;
    event.preventDefault();
    const { submitter } = event;
    line.hidden = false;
    for (const button of form.querySelectorAll("[type=submit]")) button.disabled = true;
    try {
      await send(file);
      upload.value = line.dataset.upload;
      input.value = "";
    } catch {
      line.textContent = line.dataset.failed;
      return;
    } finally {
      for (const button of form.querySelectorAll("[type=submit]")) button.disabled = false;
    }
    form.requestSubmit(submitter);
  });

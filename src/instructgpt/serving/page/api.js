// The server's endpoints, as the page needs them.
const headers = (key) => ({ "Content-Type": "application/json", ...(key && { Authorization: `Bearer ${key}` }) });

async function checked(response) {
  if (response.ok) return response;
  const body = await response.json().catch(() => null);
  throw new Error(body?.error?.message ?? `HTTP ${response.status}`);
}

export async function models(key) {
  const response = await checked(await fetch("/v1/models", { headers: headers(key) }));
  return (await response.json()).data;
}

export async function feedback(key, row, method = "POST") {
  const response = await checked(await fetch("/v1/feedback", { method, headers: headers(key), body: JSON.stringify(row) }));
  return response.json();
}

// { enabled: whether verdicts are stored, loop: whether a loop is served, comparing: whether it compares two models }
export async function feedbackState(key) {
  const response = await checked(await fetch("/v1/feedback", { headers: headers(key) }));
  return response.json();
}

// Calls `onText` with every new piece; resolves to the finish reason.
export async function answer(key, body, signal, onText) {
  const request = { method: "POST", headers: headers(key), signal, body: JSON.stringify({ ...body, stream: true }) };
  const response = await checked(await fetch("/v1/chat/completions", request));
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "", reason = null;
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return reason;
    const events = (rest + value).split("\n\n");
    rest = events.pop(); // an event may be cut in two
    for (const event of events) {
      const data = event.replace(/^data: /, "");
      if (data === "[DONE]") continue;
      const chunk = JSON.parse(data);
      if (chunk.error) throw new Error(chunk.error.message);
      const choice = chunk.choices[0];
      if (choice?.delta.content) onText(choice.delta.content);
      reason = choice?.finish_reason ?? reason;
    }
  }
}

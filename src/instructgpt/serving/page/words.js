// Every word of the page, and the four applications as presets: {en, zh}.
export const words = {
  en: {
    loop: "Loop", model: "Model", compare: "compare two, blind", preset: "Preset", task: "Task", fresh: "New", export: "Export",
    settings: "Settings", system: "System prompt", temperature: "Temperature", topP: "Top-p",
    maxTokens: "Longest answer (tokens)", seed: "Seed (empty: random)", key: "API key",
    ask: "Ask something", send: "Send", stop: "Stop", edit: "Edit", again: "Regenerate", copy: "Copy",
    copied: "Copied", good: "Good", bad: "Bad", why: "Why? (optional)", thanks: "Recorded",
    save: "Save and answer", cancel: "Cancel", left: "Left is better", right: "Right is better",
    same: "Equally good", answerA: "Answer A", answerB: "Answer B", cut: "(cut at the limit)",
    stopped: "(stopped)", keys: "Enter sends, Shift+Enter breaks the line, Esc stops, / comes back here",
    mayKeep: "My prompts and verdicts may be kept to train the next model. I can take them back.",
    forget: "Take back everything", forgotten: "Removed:",
    personal_data: "Not kept: it holds personal data.", user_cap: "Not kept: you have given enough prompts.",
    presets: ["Free conversation", "Question answering", "Dialogue", "Summarisation", "Translation"],
  },
  zh: {
    loop: "循环", model: "模型", compare: "盲测两个模型", preset: "预设", task: "任务", fresh: "新对话", export: "导出",
    settings: "设置", system: "系统提示", temperature: "温度", topP: "Top-p",
    maxTokens: "回答的最大词元数", seed: "种子（留空为随机）", key: "API 密钥",
    ask: "输入问题", send: "发送", stop: "停止", edit: "编辑", again: "重新生成", copy: "复制",
    copied: "已复制", good: "好", bad: "不好", why: "为什么？（可不填）", thanks: "已记录",
    save: "保存并回答", cancel: "取消", left: "左边更好", right: "右边更好",
    same: "一样好", answerA: "回答 A", answerB: "回答 B", cut: "（达到长度上限）",
    stopped: "（已停止）", keys: "Enter 发送，Shift+Enter 换行，Esc 停止，/ 回到输入框",
    mayKeep: "我的提示和评价可以保存下来，用来训练下一个模型。我可以随时收回。",
    forget: "全部收回", forgotten: "已删除：",
    personal_data: "未保存：其中含有个人信息。", user_cap: "未保存：您提供的提示已经足够多。",
    presets: ["自由对话", "问答", "对话", "摘要", "翻译"],
  },
};

// `task` is what a model with a soft prompt per task calls it, if it was trained on our own world.
export const presets = [
  { system: { en: "", zh: "" }, temperature: 0.7 },
  { task: "qa", system: { en: "Answer the question in one or two sentences. Say so if you do not know.",
              zh: "用一两句话回答问题；不知道就说不知道。" }, temperature: 0 },
  { task: "dialogue", system: { en: "You are a friendly, helpful partner in conversation.",
              zh: "你是一个友好而乐于助人的对话伙伴。" }, temperature: 0.9 },
  { task: "summarization", system: { en: "Summarise the text in one short paragraph.",
              zh: "用一小段话概括下面的文字。" }, temperature: 0.3 },
  { task: "translation", system: { en: "Translate: Chinese into English, any other language into Chinese.",
              zh: "翻译：中文译成英文，其他语言译成中文。" }, temperature: 0 },
];

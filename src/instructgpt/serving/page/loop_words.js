// Every word of the loop's page: {en, zh}. Functions make sentences.
const rate = (i) => (i ? `${i.value.toFixed(2)} [${i.low.toFixed(2)}, ${i.high.toFixed(2)}]` : "–");

export const words = {
  en: {
    chat: "Chat", key: "API key", servedNow: "Served now", since: (at) => `since ${at}`, comparison: "Being compared",
    rounds: "Rounds", thumbs: "Thumbs up, as each model was used", history: "History", none: "nothing yet",
    roundsNote: "Share of blind votes that preferred the candidate to the model it was compared with; a tie counts half. Intervals hold whenever one looks. Dashed: no difference.",
    noComparison: "No candidate is being compared.",
    compared: (c, votes, judges) => `${c.candidate} against ${c.against}: votes ${rate(votes)}${votes ? ` of ${votes.n}` : ""}${judges ? `, judges ${rate(judges)} of ${judges.n}` : ""}. Decided by ${c.decided_by.join(" and ")}, at most ${c.max_votes} votes. ${
      { better: "It has been shown to be better.", worse: "It has been shown to be worse.", undecided: "No difference was shown.", open: "Not decided yet." }[c.decision]}`,
    votes: "votes", judges: "judges", votesAxis: "votes", rateAxis: "candidate preferred",
    columns: ["round", "state", "against", "prompts", "demonstrations", "votes", "judges", "by"], thumbColumns: ["model", "up", "thumbs"],
    state: { started: "collecting prompts", collected: "waiting for demonstrations", demonstrated: "learning", trained: "learned",
      opened: "being compared", promoted: "promoted", kept: "not promoted" }, rolledBack: "rolled back",
    event: { begun: "begun", started: "started", collected: "prompts collected", demonstrated: "demonstrations are there", trained: "candidate trained",
      opened: "comparison opened", promoted: "candidate promoted", kept: "candidate not promoted", rolled_back: "rolled back" },
    why: { better: "shown to be better", worse: "shown to be worse", undecided: "no difference shown", "by hand": "by hand" },
    round: (n) => `round ${n}`, commands: "In a terminal, where DIR is the loop's folder:",
  },
  zh: {
    chat: "聊天", key: "API 密钥", servedNow: "当前提供服务的模型", since: (at) => `自 ${at}`, comparison: "正在比较",
    rounds: "各轮", thumbs: "各模型在使用中得到的好评", history: "历史", none: "暂无",
    roundsNote: "在盲测中，候选模型比对照模型更受偏好的比例；平局算一半。区间在任何时刻查看都成立。虚线：没有差别。",
    noComparison: "目前没有候选模型在比较。",
    compared: (c, votes, judges) => `${c.candidate} 对 ${c.against}：投票 ${rate(votes)}${votes ? `，共 ${votes.n} 票` : ""}${judges ? `；评判 ${rate(judges)}，共 ${judges.n} 次` : ""}。由${c.decided_by.map((s) => ({ votes: "投票", judges: "评判" })[s]).join("和")}决定，最多 ${c.max_votes} 票。${
      { better: "已证明更好。", worse: "已证明更差。", undecided: "未显示出差别。", open: "尚未决定。" }[c.decision]}`,
    votes: "投票", judges: "评判", votesAxis: "票数", rateAxis: "偏好候选模型的比例",
    columns: ["轮次", "状态", "对照", "提示", "示范", "投票", "评判", "决定者"], thumbColumns: ["模型", "好评", "总数"],
    state: { started: "收集提示", collected: "等待示范", demonstrated: "训练中", trained: "已训练",
      opened: "比较中", promoted: "已采用", kept: "未采用" }, rolledBack: "已回退",
    event: { begun: "开始", started: "本轮开始", collected: "已收集提示", demonstrated: "已有示范", trained: "候选模型已训练",
      opened: "开始比较", promoted: "采用候选模型", kept: "未采用候选模型", rolled_back: "回退" },
    why: { better: "已证明更好", worse: "已证明更差", undecided: "未显示出差别", "by hand": "人工决定" },
    round: (n) => `第 ${n} 轮`, commands: "在终端中（DIR 为循环的文件夹）：",
  },
};
export { rate };

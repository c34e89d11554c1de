// The page's words, in English and Chinese. A missing word shows its key: tests look for that.

const WORDS = {
  title: ["Rank the answers", "为回答排序"],
  prompt: ["Prompt", "提示"],
  earlier: ["Earlier turns ({n})", "之前的对话（{n}）"],
  user: ["User", "用户"], assistant: ["Assistant", "助手"], system: ["System", "系统"], tool: ["Tool", "工具"],
  guidelines: ["Guidelines", "标注指南"],
  best: ["Best", "最好"], worst: ["Worst", "最差"],
  answer: ["Answer {letter}", "回答 {letter}"],
  emptyAnswer: ["This answer is empty.", "该回答为空。"],
  place: ["Place {n}", "第 {n} 名"], tied: ["tied with {others}", "与 {others} 并列"], unranked: ["not ranked", "未排序"],
  handle: ["Drag answer {letter}", "拖动回答 {letter}"],
  up: ["Up", "上移"], down: ["Down", "下移"], tie: ["Tie", "并列"],
  leaveOut: ["Leave out", "不参与排序"], takeIn: ["Rank it", "加入排序"],
  edit: ["Edit", "编辑"], editing: ["A better wording of answer {letter}", "改进回答 {letter}"], edited: ["edited", "已编辑"], yours: ["As you edited it", "您编辑后的文本"], begun: ["edit not finished", "编辑未完成"],
  flag: ["Flag", "标记"], flagged: ["flagged", "已标记"], flagBegun: ["flag not finished", "标记未完成"], note: ["Note", "备注"],
  rate: ["Rate", "评分"], rated: ["rated", "已评分"], more: ["Show all", "展开全部"], less: ["Show less", "收起"],
  cancel: ["Cancel", "取消"], ok: ["OK", "确定"], remove: ["Remove", "移除"], close: ["Close", "关闭"],
  rationale: ["Why this order? (optional)", "为什么这样排序？（可选）"],
  submit: ["Submit", "提交"], skip: ["Skip", "跳过"], undo: ["Undo last", "撤销上一次"], help: ["Keys", "快捷键"],
  logout: ["Log out", "退出登录"], language: ["中文", "English"],
  order: ["Order", "排序"], buckets: ["Buckets", "分档"],
  bucket0: ["Best", "最佳"], bucket1: ["Good", "良好"], bucket2: ["Bad", "较差"], nowhere: ["Not placed yet", "尚未分档"],
  differences: ["Differences", "差异"], sameText: ["The answers are equal.", "两个回答相同。"],
  against: ["{a} against {b}", "{a} 与 {b} 对比"],
  pair3: ["{x} is much better", "{x} 好得多"], pair2: ["{x} is better", "{x} 更好"],
  pair1: ["{x} is slightly better", "{x} 略好"], pair0: ["Tie", "持平"],
  skipWhy: ["Why skip it?", "为什么跳过？"],
  "skip-unsure": ["I cannot judge it", "无法判断"], "skip-all-bad": ["All answers are bad", "所有回答都很差"],
  "skip-language": ["I do not know the language", "看不懂该语言"], "skip-broken": ["It is broken", "内容损坏"],
  "skip-harmful": ["I do not want to read it", "不愿阅读此内容"], "skip-other": ["Another reason", "其他原因"],
  flagWhy: ["What is wrong with answer {letter}?", "回答 {letter} 有什么问题？"],
  "flag-harmful": ["Harmful", "有害"], "flag-untrue": ["Untrue", "不真实"], "flag-private": ["Personal data", "个人信息"],
  "flag-nonsense": ["Nonsense or cut off", "无意义或被截断"], "flag-refusal": ["Refuses without need", "不必要的拒答"],
  "flag-other": ["Something else", "其他"],
  helpful: ["Helpful", "有帮助"], harmless: ["Harmless", "无害"], honest: ["Honest", "诚实"],
  done: ["All ranked. Thank you.", "全部完成，谢谢。"], empty: ["There is nothing to rank yet.", "还没有可排序的内容。"],
  waiting: ["Others are at the last {n} items. This page looks again by itself.", "其他人正在标注最后 {n} 项，本页会自动刷新。"],
  waitingOne: ["Someone else is at the last item. This page looks again by itself.", "其他人正在标注最后一项，本页会自动刷新。"],
  again: ["Look again", "重新查看"],
  noProject: ["There is no project yet. Import answers: align labels import FILE --project NAME", "还没有项目。导入回答：align labels import FILE --project NAME"],
  "no-project": ["There is no project of this name. Choose another above, or ask for the right link.", "没有此名称的项目。请在上方选择其他项目，或索取正确的链接。"],
  project: ["Project", "项目"], count: ["{n} ranked by you", "您已完成 {n} 项"],
  countLeft: ["{n} ranked by you, about {left} left", "您已完成 {n} 项，约剩 {left} 项"],
  "nothing-disputed": ["No item is left for you to decide: on all others annotators agree enough, or you ranked, skipped or decided them. The quality page lists the most disputed ones: those you had no part in can be decided there.", "没有需要您裁定的项目：其余项目标注者意见足够一致，或您已为其排序、跳过或裁定。质量页列出分歧最大的项目，您未参与过的可在那里裁定。"],
  "no-threshold": ["This project sends no item to a reviewer. To change that: align labels projects set NAME --adjudicate-below 0.5. Disputed items that you had no part in can be decided from the quality page.", "本项目不向审核者提交项目。更改方法：align labels projects set NAME --adjudicate-below 0.5。有分歧而您未参与过的项目可从质量页裁定。"],
  "not-yours-to-decide": ["This item is not for you to decide: you ranked, skipped or decided it, or another reviewer is at it.", "该项不由您裁定：您已为其排序、跳过或裁定，或另一名审核者正在处理。"],
  quality: ["Quality", "质量"],
  adjudicate: ["Decide disagreements", "裁定分歧"], rank: ["Rank", "排序"],
  opinion: ["Annotator {n}", "标注者 {n}"], opinions: ["What annotators said", "标注者的意见"],
  untouched: ["Nothing was moved. Submit once more if this order is what you mean.", "尚未调整顺序。如果这就是您的排序，请再次提交。"],
  unplaced: ["Place at least two answers.", "请至少为两个回答分档。"],
  left: ["Not placed: {letters}. Submit once more to rank the others only.", "尚未分档：{letters}。如不参与排序，请再次提交。"],
  unfinished: ["An edit or a flag is not finished. Submit once more to leave it out.", "有编辑或标记未完成。如不采用，请再次提交。"],
  undecided: ["Say which answer is better, or that they are level.", "请选出更好的回答，或选择持平。"],
  saved: ["Saved", "已保存"], draftSaved: ["Draft saved", "草稿已保存"],
  undone: ["Taken back: change it and submit again.", "已撤销：请修改后重新提交。"],
  lost: ["Not saved: {why} Your work is still here; try again.", "未保存：{why} 您的内容仍在本页，请重试。"],
  offline: ["The server does not answer.", "服务器没有响应。"],
  "not-saved": ["The label database cannot be written.", "标注数据库无法写入。"],
  "lease-over": ["This item was submitted already, perhaps in another tab. To change it, undo.", "该项已提交（可能在另一个标签页中）。如需修改，请撤销。"],
  "not-yours": ["This item is no longer open for you.", "该项已不再由您处理。"],
  "nothing-to-undo": ["There is nothing to take back.", "没有可撤销的内容。"],
  goOn: ["Next item", "下一项"],
  loginAgain: ["Log in again", "重新登录"],
  login: ["You are logged out.", "您已退出登录。"],
  "bad-ranking": ["The ranking does not fit the item.", "排序与该项不符。"],
  "bad-text": ["The text cannot be taken.", "文本无法接受。"],
  "not-allowed": ["This is not for your role.", "您的角色无权执行此操作。"],
  "no-path": ["The server does not know this request. Reload the page.", "服务器无法识别该请求，请刷新页面。"],
  "other-site": ["This is not the address that the labeling app was started for.", "标注应用启动时指定的不是当前地址。"],
  "bad-request": ["The request was refused.", "请求被拒绝。"],
  moved: ["Answer {letter}: {place}", "回答 {letter}：{place}"],
  keys: ["Keys", "快捷键"],
  "hint-order": ["Best on top. Drag ⠿, or use the buttons.", "最好的放最上面。拖动 ⠿ 或使用按钮。"],
  "hint-buckets": ["Put each answer into a bucket; equal ones share one.", "把每个回答放入一档，同样好的放同一档。"],
  "hint-key-order": ["Keys: ↑ ↓ choose, 1 – 9 place, ? shows all.", "键盘：↑ ↓ 选择，1 – 9 名次，? 查看全部。"],
  "hint-key-buckets": ["Keys: 1 2 3 one after the other, ? shows all.", "键盘：依次按 1 2 3，? 查看全部。"],
  "key-arrows": ["choose an answer", "选择回答"], "key-move": ["move it", "移动"], "key-digit": ["put it on that place", "放到该名次"],
  "key-bucket": ["put it into that bucket", "放入该档"], "key-tie": ["tie it with the one above", "与上一个并列"],
  "key-out": ["leave it out", "不参与排序"], "key-diff": ["differences to the next", "与下一个的差异"],
  "key-edit": ["edit it", "编辑"], "key-flag": ["flag it", "标记"], "key-open": ["show all of it", "展开全部"],
  "key-comment": ["write why", "填写理由"], "key-answers": ["back from there to the answers", "从理由返回回答"],
  "key-submit": ["submit", "提交"], "key-anywhere": ["submit while you write", "书写时提交"], "key-undo": ["undo the last submission", "撤销上一次提交"], "key-skip": ["skip", "跳过"],
  "key-help": ["these keys", "快捷键说明"], "key-pair": ["from A is much better to B is much better", "从 A 好得多 到 B 好得多"],
};

let column = 0;

export function setLanguage(locale) {
  column = (locale || "").toLowerCase().startsWith("zh") ? 1 : 0;
  return column ? "zh-CN" : "en";
}

export function say(key, values = {}) {
  const pair = WORDS[key];
  const text = pair ? pair[column] : key;
  return text.replace(/\{(\w+)\}/g, (_, name) => String(values[name] ?? ""));
}

// The words of another page, which come with it.
export const addWords = (more) => Object.assign(WORDS, more);

export const known = (key) => key in WORDS;
export const missing = () => Object.entries(WORDS).filter(([, pair]) => pair.length !== 2 || pair.some((t) => !t)).map(([k]) => k);

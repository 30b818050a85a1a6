"""The readers of published training sets by name, which is their module's and `reader` in `prepare.sources`."""

from models.sources import (
    conversations,
    evalmuse,
    gpt4o_t2i,
    grpo_json,
    hpdv2,
    hpdv3,
    imagegen_cot_reward,
    llava_critic,
    open_image_preferences,
    own,
    sharegpt_video_dpo,
    text2video_rapidata,
    video_dpo,
    webdataset,
)
from models.sources.rows import Read

READERS: dict[str, Read] = {
    "conversations": conversations.read,
    "evalmuse": evalmuse.read,
    "gpt4o_t2i": gpt4o_t2i.read,
    "grpo_json": grpo_json.read,
    "hpdv2": hpdv2.read,
    "hpdv3": hpdv3.read,
    "imagegen_cot_reward": imagegen_cot_reward.read,
    "llava_critic": llava_critic.read,
    "open_image_preferences": open_image_preferences.read,
    "own": own.read,
    "sharegpt_video_dpo": sharegpt_video_dpo.read,
    "text2video_rapidata": text2video_rapidata.read,
    "video_dpo": video_dpo.read,
    "webdataset": webdataset.read,
}

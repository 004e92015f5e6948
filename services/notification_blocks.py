"""The blocks that notifications are sent through, and what Apprise makes of each.

Fields and defaults are those of Prefect's blocks with the capability `notify`. Apprise is imported
where something is made of a block: only the process that sends ever does that
(`services/notification_process.py`).
"""

import re
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from msgspec import Struct
from msgspec.structs import replace

NotifyType = Literal["info", "success", "warning", "failure"]
PAGER_DUTY_BODY = "Prefect Notification Body"
"""The detail in which Pager Duty is told the body. What is there looks for it under this name."""


class Message(Struct, frozen=True):
    """What is to be said."""

    subject: str
    body: str


class CannotSend(Exception):
    """A block does not say where to. The message says why, without anything of the block."""


class NotifyingBlock(Struct, frozen=True, kw_only=True):
    """What such blocks have in common."""

    notify_type: NotifyType = "info"
    """What symbol or colour the message has."""

    @property
    def only_public(self) -> str | None:
        """A URL that may not be one of this machine or network; None: any may."""
        return None

    def said(self, message: Message) -> Message:
        """The message, as it is to be given to what `service` makes."""
        return message

    def service(self, asset: Any, message: Message) -> Any:
        """What Apprise sends a message with. Raises CannotSend, and what Apprise raises, which may
        hold values of the block."""
        raise NotImplementedError


class _ByUrl(NotifyingBlock, frozen=True, kw_only=True):
    url: str
    allow_private_urls: bool = True

    @property
    def only_public(self) -> str | None:
        return None if self.allow_private_urls else self.url


class SlackWebhook(_ByUrl, frozen=True, kw_only=True):
    """A webhook of Slack; or, as clients of Prefect take them, any URL that Apprise knows."""

    OF_GOVERNMENT: ClassVar = re.compile(
        r"https?://(hooks\.slack-gov\.com)/services/([a-z0-9]+)/([a-z0-9]+)/([a-z0-9]+)/?", re.I
    )

    def service(self, asset: Any, message: Message) -> Any:
        from apprise import Apprise
        from apprise.plugins.slack import NotifySlack

        apart = self.OF_GOVERNMENT.fullmatch(self.url)
        if apart is not None:
            host, *tokens = apart.groups()
            named = dict(zip(("token_a", "token_b", "token_c"), tokens, strict=True))
            slack: Any = NotifySlack(**named, asset=asset)
            slack.webhook_url = f"https://{host}/services"  # Apprise knows the other one only.
            return slack
        found = Apprise.instantiate(self.url, asset=asset)
        if found is None:
            raise CannotSend("the block's URL is none that notifications can be sent to")
        return found


class TeamsWebhook(_ByUrl, frozen=True, kw_only=True):
    """A workflow of Power Automate that posts to Microsoft Teams."""

    include_image: bool = True
    wrap: bool = True

    def service(self, asset: Any, message: Message) -> Any:
        from apprise.plugins.workflows import NotifyWorkflows

        found: Any = NotifyWorkflows.parse_native_url(self.url)
        if not found:
            raise CannotSend("the block's URL is none of a workflow of Microsoft Teams")
        found |= {"include_image": self.include_image, "wrap": self.wrap, "asset": asset}
        return NotifyWorkflows(**found)


class PagerDuty(NotifyingBlock, frozen=True, kw_only=True):
    """An integration of Pager Duty."""

    integration_key: str
    api_key: str
    source: str | None = "Prefect"
    component: str = "Notification"
    group: str | None = None
    class_id: str | None = None
    region_name: Literal["us", "eu"] = "us"
    clickable_url: str | None = None
    include_image: bool = True
    custom_details: dict[str, str] | None = None

    def said(self, message: Message) -> Message:
        # Apprise has one text for it, the incident's summary: the body goes with the details.
        return replace(message, body=" ") if message.subject else message

    def service(self, asset: Any, message: Message) -> Any:
        from apprise.plugins.pagerduty import NotifyPagerDuty

        details = dict(self.custom_details or {})
        if message.subject:
            details[PAGER_DUTY_BODY] = message.body
        return NotifyPagerDuty(
            apikey=self.api_key,
            integrationkey=self.integration_key,
            source=self.source,
            component=self.component,
            group=self.group,
            class_id=self.class_id,
            region_name=self.region_name,
            click=self.clickable_url,
            include_image=self.include_image,
            details=details,
            asset=asset,
        )


class TwilioSms(NotifyingBlock, frozen=True, kw_only=True):
    """Text messages by Twilio."""

    account_sid: str
    auth_token: str
    from_phone_number: str
    to_phone_numbers: list[str]

    def service(self, asset: Any, message: Message) -> Any:
        from apprise.plugins.twilio import NotifyTwilio

        return NotifyTwilio(
            account_sid=self.account_sid,
            auth_token=self.auth_token,
            source=self.from_phone_number,
            targets=self.to_phone_numbers,
            asset=asset,
        )


class Opsgenie(NotifyingBlock, frozen=True, kw_only=True):
    """An integration of Opsgenie."""

    apikey: str
    target_user: list[str] | None = None
    target_team: list[str] | None = None
    target_schedule: list[str] | None = None
    target_escalation: list[str] | None = None
    region_name: Literal["us", "eu"] = "us"
    batch: bool = False
    tags: list[str] | None = None
    priority: int | None = 3
    alias: str | None = None
    entity: str | None = None
    details: dict[str, str] | None = None

    def service(self, asset: Any, message: Message) -> Any:
        from apprise.plugins.opsgenie import NotifyOpsgenie

        marked = {
            "@": self.target_user,
            "#": self.target_team,
            "*": self.target_schedule,
            "^": self.target_escalation,
        }
        return NotifyOpsgenie(
            apikey=self.apikey,
            targets=[mark + name for mark, names in marked.items() for name in names or ()],
            region_name=self.region_name,
            details=self.details,
            priority=self.priority,
            alias=self.alias,
            entity=self.entity,
            batch=self.batch,
            tags=self.tags,
            action="new",
            asset=asset,
        )


class MattermostWebhook(NotifyingBlock, frozen=True, kw_only=True):
    """A webhook of a Mattermost server."""

    hostname: str
    token: str
    secure: bool = False
    botname: str | None = None
    channels: list[str] | None = None
    include_image: bool = False
    path: str | None = None
    port: int = 8065

    def service(self, asset: Any, message: Message) -> Any:
        from apprise.plugins.mattermost import NotifyMattermost

        return NotifyMattermost(
            token=self.token,
            fullpath=self.path,
            targets=self.channels,
            include_image=self.include_image,
            host=self.hostname,
            port=self.port,
            secure=self.secure,
            user=self.botname,
            asset=asset,
        )


class DiscordWebhook(NotifyingBlock, frozen=True, kw_only=True):
    """A webhook of Discord."""

    webhook_id: str
    webhook_token: str
    botname: str | None = None
    tts: bool = False
    include_image: bool = False
    avatar: bool = False
    avatar_url: str | None = None

    def service(self, asset: Any, message: Message) -> Any:
        from apprise.plugins.discord import NotifyDiscord

        return NotifyDiscord(
            webhook_id=self.webhook_id,
            webhook_token=self.webhook_token,
            tts=self.tts,
            include_image=self.include_image,
            avatar=self.avatar,
            avatar_url=self.avatar_url,
            user=self.botname,
            asset=asset,
        )


class SendgridEmail(NotifyingBlock, frozen=True, kw_only=True):
    """Mails by SendGrid."""

    api_key: str
    sender_email: str
    to_emails: list[str]

    def service(self, asset: Any, message: Message) -> Any:
        from apprise.plugins.sendgrid import NotifySendGrid

        return NotifySendGrid(
            apikey=self.api_key,
            from_email=self.sender_email,
            targets=self.to_emails,
            asset=asset,
        )


BLOCKS: Mapping[str, type[NotifyingBlock]] = {
    "discord-webhook": DiscordWebhook,
    "mattermost-webhook": MattermostWebhook,
    "ms-teams-webhook": TeamsWebhook,
    "opsgenie-webhook": Opsgenie,
    "pager-duty-webhook": PagerDuty,
    "sendgrid-email": SendgridEmail,
    "slack-webhook": SlackWebhook,
    "twilio-sms": TwilioSms,
}
"""By the slug of their type."""

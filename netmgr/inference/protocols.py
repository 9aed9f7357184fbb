"""Owns: the names of the inference protocols. Knows nothing of paths, providers or bytes."""

from enum import StrEnum


class Protocol(StrEnum):
    """What a model API speaks. The values appear in `netmgr inference get` and in records."""

    CHAT = "openai_chat_completions"
    COMPLETIONS = "openai_completions"
    RESPONSES = "openai_responses"
    EMBEDDINGS = "openai_embeddings"
    MESSAGES = "anthropic_messages"
    MODELS = "model_discovery"
    INVOKE = "aws_bedrock_invoke"
    CONVERSE = "aws_bedrock_converse"
    OTHER = "other"  # a request that an operator's provider type adds


class Shape(StrEnum):
    """How an API words its errors. RESPONSES differs from OPENAI inside a stream only."""

    OPENAI = "openai"
    RESPONSES = "responses"
    ANTHROPIC = "anthropic"
    BEDROCK = "bedrock"


SHAPE_OF: dict[Protocol, Shape] = {
    Protocol.CHAT: Shape.OPENAI,
    Protocol.COMPLETIONS: Shape.OPENAI,
    Protocol.RESPONSES: Shape.RESPONSES,
    Protocol.EMBEDDINGS: Shape.OPENAI,
    Protocol.MESSAGES: Shape.ANTHROPIC,
    Protocol.MODELS: Shape.OPENAI,
    Protocol.INVOKE: Shape.BEDROCK,
    Protocol.CONVERSE: Shape.BEDROCK,
    Protocol.OTHER: Shape.OPENAI,
}

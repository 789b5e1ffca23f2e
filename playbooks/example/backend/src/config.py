"""Settings of the backend, read from environment variables."""

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    model_config = SettingsConfigDict(env_file=".env", extra="ignore")

    environment: str = "local"
    secret_key: SecretStr = Field(description="signs sessions")
    secret_key_previous: SecretStr | None = Field(
        default=None,
        description="still accepted while a rotation of SECRET_KEY is under way",
    )
    llm_encryption_keys: SecretStr = Field(description="a Fernet ring, newest first")
    database_url: SecretStr
    smtp_password: SecretStr | None = None
    log_level: str = "INFO"

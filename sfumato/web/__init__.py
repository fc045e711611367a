"""The web page: pictures restored in a browser on one's own machine; `sfumato web` opens it."""

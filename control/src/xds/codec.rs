//! gRPC codec: requests by prost, responses from shared bytes.

use bytes::Buf;
use prost::Message;
use tonic::Status;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use warren_api::r#gen::discovery::DeltaDiscoveryRequest;

use super::push::Push;

/// The codec of `DeltaAggregatedResources`.
#[derive(Clone, Copy, Debug, Default)]
pub struct DeltaCodec;

impl Codec for DeltaCodec {
    type Encode = Push;
    type Decode = DeltaDiscoveryRequest;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for DeltaCodec {
    type Item = Push;
    type Error = Status;

    fn encode(&mut self, push: Push, buf: &mut EncodeBuf<'_>) -> Result<(), Status> {
        push.encode(buf);
        Ok(())
    }
}

impl Decoder for DeltaCodec {
    type Item = DeltaDiscoveryRequest;
    type Error = Status;

    fn decode(&mut self, buf: &mut DecodeBuf<'_>) -> Result<Option<DeltaDiscoveryRequest>, Status> {
        let length = buf.remaining();
        let request = DeltaDiscoveryRequest::decode(buf.take(length));
        request
            .map(Some)
            .map_err(|e| Status::invalid_argument(format!("not a DeltaDiscoveryRequest: {e}")))
    }
}
